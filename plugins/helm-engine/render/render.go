// Package render renders one Helm chart from a JSON request to a JSON response
// with Helm's own packages, with no access to files, network or cluster.
package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	commonutil "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
)

const notesFile = "NOTES.txt"

// JSON answers a request, whatever its bytes are.
func JSON(in []byte) []byte {
	var resp *Response
	if req, err := parse(in); err != nil {
		resp = empty()
		resp.Error = &Error{"request", err.Error()}
	} else {
		resp = Render(req)
	}
	out, err := json.Marshal(resp)
	if err != nil {
		resp = empty()
		resp.Error = &Error{"response", err.Error()}
		out, _ = json.Marshal(resp)
	}
	return out
}

func parse(in []byte) (*Request, error) {
	decoder := json.NewDecoder(bytes.NewReader(in))
	decoder.DisallowUnknownFields()
	var req Request
	if err := decoder.Decode(&req); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("more than one document")
	}
	if req.Version != 0 && req.Version != Version {
		return nil, fmt.Errorf("version %d; this engine knows version %d", req.Version, Version)
	}
	return &req, nil
}

func empty() *Response {
	return &Response{Manifests: []Manifest{}, Hooks: []Hook{}, CRDs: []Manifest{}, Missing: []Lookup{}}
}

// Render does what `helm template` does, in its order. What it has when
// something is wrong stays in the response.
func Render(req *Request) (resp *Response) {
	resp = empty()
	stage := "load"
	fail := func(err error) *Response {
		resp.Error = &Error{stage, err.Error()}
		return resp
	}
	// Some of Helm's packages panic at what charts contain.
	defer func() {
		if r := recover(); r != nil {
			resp.Error = &Error{stage, fmt.Sprintf("panic: %v", r)}
		}
	}()

	chrt, err := load(&req.Chart)
	if err != nil {
		return fail(err)
	}
	if err := installable(chrt); err != nil {
		return fail(err)
	}

	stage = "values"
	values, err := merge(req.Values)
	if err != nil {
		return fail(err)
	}
	if err := chartutil.ProcessDependencies(chrt, values); err != nil {
		return fail(err)
	}

	stage = "capabilities"
	caps, err := capabilities(&req.Capabilities, chrt)
	if err != nil {
		return fail(err)
	}

	stage = "values"
	top, err := commonutil.ToRenderValuesWithSchemaValidation(chrt, values, common.ReleaseOptions{
		Name:      req.Release.Name,
		Namespace: req.Release.Namespace,
		Revision:  max(req.Release.Revision, 1),
		IsInstall: !req.Release.IsUpgrade,
		IsUpgrade: req.Release.IsUpgrade,
	}, caps, req.Options.SkipSchema)
	if err != nil {
		return fail(err)
	}

	stage = "render"
	answers := newAnswers(req.Lookup)
	eng := engine.Engine{Strict: req.Options.Strict, CustomTemplateFuncs: functions(answers)}
	files, err := eng.Render(chrt, top)
	resp.Missing = answers.missing
	if err != nil {
		return fail(err)
	}
	resp.Notes = takeNotes(files, chrt.Name(), req.Options.SubNotes)

	stage = "sort"
	for _, crd := range chrt.CRDObjects() {
		resp.CRDs = append(resp.CRDs, Manifest{crd.Filename, "CustomResourceDefinition", string(crd.File.Data)})
	}
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return fail(err)
	}
	for _, m := range manifests {
		resp.Manifests = append(resp.Manifests, Manifest{m.Name, m.Head.Kind, m.Content})
	}
	for _, h := range hooks {
		hook := Hook{Source: h.Path, Kind: h.Kind, Name: h.Name, Weight: h.Weight, Content: h.Manifest,
			Events: []string{}, DeletePolicies: []string{}}
		for _, e := range h.Events {
			hook.Events = append(hook.Events, e.String())
		}
		for _, p := range h.DeletePolicies {
			hook.DeletePolicies = append(hook.DeletePolicies, p.String())
		}
		resp.Hooks = append(resp.Hooks, hook)
	}
	return resp
}

func merge(layers []string) (map[string]any, error) {
	values := map[string]any{}
	for _, layer := range layers {
		more, err := loader.LoadValues(strings.NewReader(layer))
		if err != nil {
			return nil, err
		}
		values = loader.MergeMaps(values, more)
	}
	return values, nil
}

func capabilities(of *Capabilities, chrt *chart.Chart) (*common.Capabilities, error) {
	caps := common.DefaultCapabilities.Copy()
	if of.KubeVersion != "" {
		version, err := common.ParseKubeVersion(of.KubeVersion)
		if err != nil {
			return nil, err
		}
		caps.KubeVersion = *version
	}
	if of.APIVersions != nil {
		caps.APIVersions = common.VersionSet(of.APIVersions)
	}
	if wants := chrt.Metadata.KubeVersion; wants != "" && !chartutil.IsCompatibleRange(wants, caps.KubeVersion.String()) {
		return nil, fmt.Errorf("chart requires kubeVersion: %s which is incompatible with Kubernetes %s", wants, caps.KubeVersion.Version)
	}
	return caps, nil
}

// takeNotes takes the notes out of the rendered files: they are no manifests.
func takeNotes(files map[string]string, chart string, subcharts bool) string {
	var found []string
	for name := range files {
		if strings.HasSuffix(name, notesFile) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	var notes []string
	for _, name := range found {
		if subcharts || name == path.Join(chart, "templates", notesFile) {
			notes = append(notes, files[name])
		}
		delete(files, name)
	}
	return strings.Join(notes, "\n")
}

//go:build native

package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	ci "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/loader"
	v2 "helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"

	"kybern.dev/plugins/helm-engine/render"
)

// Case is one chart of this machine and how it is rendered.
type Case struct {
	// Chart is a folder or an archive.
	Chart   string          `json:"chart"`
	Values  []string        `json:"values"`
	Release render.Release  `json:"release"`
	Lookup  []render.Lookup `json:"lookup"`
	Options render.Options  `json:"options"`
}

// Compared is what came of a case.
type Compared struct {
	Request json.RawMessage `json:"request"`
	// Native is the answer of the same code; Again is a second one: they
	// differ where templates are random.
	Native json.RawMessage `json:"native"`
	Again  json.RawMessage `json:"again"`
	// Helm is what `helm template` makes of it.
	Helm Helm `json:"helm"`
}

// Helm is what `helm template` makes of a chart.
type Helm struct {
	Manifest string `json:"manifest"`
	// Hooks are their texts behind their sources.
	Hooks []string `json:"hooks"`
	Notes string   `json:"notes"`
	Error string   `json:"error,omitempty"`
}

func compare(c *Case) (*Compared, error) {
	source, err := read(c.Chart)
	if err != nil {
		return nil, err
	}
	request, err := json.Marshal(&render.Request{
		Version: render.Version, Chart: source, Values: c.Values, Release: c.Release,
		Capabilities: capabilities(), Lookup: c.Lookup, Options: c.Options,
	})
	if err != nil {
		return nil, err
	}
	return &Compared{
		Request: request,
		Native:  render.JSON(request),
		Again:   render.JSON(request),
		Helm:    template(c),
	}, nil
}

// read puts a chart into a request, without looking at it.
func read(chart string) (render.ChartSource, error) {
	var source render.ChartSource
	about, err := os.Stat(chart)
	if err != nil {
		return source, err
	}
	if !about.IsDir() {
		source.Archive, err = os.ReadFile(chart)
		return source, err
	}
	err = walk(chart, "", func(name string, data []byte) {
		source.Files = append(source.Files, render.File{Path: name, Data: data})
	})
	return source, err
}

// walk follows links, as Helm's loader does.
func walk(folder, prefix string, found func(name string, data []byte)) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		file, name := filepath.Join(folder, entry.Name()), prefix+entry.Name()
		about, err := os.Stat(file)
		if err != nil {
			return err
		}
		if about.IsDir() {
			if err := walk(file, name+"/", found); err != nil {
				return err
			}
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found(name, data)
	}
	return nil
}

// template is `helm template`, in this process.
func template(c *Case) Helm {
	out := Helm{Hooks: []string{}}
	rel, err := install(c)
	if rel != nil {
		out.Manifest = rel.Manifest
		out.Notes = rel.Info.Notes
		for _, h := range rel.Hooks {
			out.Hooks = append(out.Hooks, "# Source: "+h.Path+"\n"+h.Manifest)
		}
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

func install(c *Case) (*release.Release, error) {
	chart, err := loader.Load(c.Chart)
	if err != nil {
		return nil, err
	}
	about, err := ci.NewDefaultAccessor(chart)
	if err != nil {
		return nil, err
	}
	if kind, _ := about.MetadataAsMap()["Type"].(string); kind != "" && kind != "application" {
		return nil, fs.ErrInvalid
	}
	if wanted := about.MetaDependencies(); len(wanted) > 0 {
		if err := action.CheckDependencies(chart, wanted); err != nil {
			return nil, err
		}
	}
	values := map[string]any{}
	for _, layer := range c.Values {
		more, err := v2.LoadValues(strings.NewReader(layer))
		if err != nil {
			return nil, err
		}
		values = v2.MergeMaps(values, more)
	}
	client := action.NewInstall(action.NewConfiguration())
	client.DryRunStrategy = action.DryRunClient
	client.Replace = true
	client.ReleaseName = c.Release.Name
	client.Namespace = c.Release.Namespace
	client.IsUpgrade = c.Release.IsUpgrade
	client.SubNotes = c.Options.SubNotes
	client.SkipSchemaValidation = c.Options.SkipSchema
	made, err := client.Run(chart, values)
	rel, _ := made.(*release.Release)
	return rel, err
}


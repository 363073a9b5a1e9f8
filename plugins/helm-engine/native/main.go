//go:build native

// Package main is the engine as a native program, for tests and benchmarks: it
// is built with -modfile=native.mod, that is with all of Helm's own
// dependencies in place of the stubs.
//
//	helm-engine template < request.json      one response
//	helm-engine capabilities                 what Helm itself assumes of a cluster
//	helm-engine compare < cases.jsonl        for each case: the request for the
//	                                         engine, its answer, and Helm's own
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"helm.sh/helm/v4/pkg/chart/common"

	"kybern.dev/plugins/helm-engine/render"
)

func main() {
	// Helm warns of much in its own test charts.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "helm-engine:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	command := ""
	if len(args) == 1 {
		command = args[0]
	}
	switch command {
	case "template":
		request, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(render.JSON(request))
		return err
	case "capabilities":
		return json.NewEncoder(os.Stdout).Encode(capabilities())
	case "compare":
		return compareAll()
	default:
		return fmt.Errorf("usage: helm-engine template|capabilities|compare")
	}
}

func capabilities() render.Capabilities {
	caps := common.DefaultCapabilities
	return render.Capabilities{KubeVersion: caps.KubeVersion.Version, APIVersions: caps.APIVersions}
}

func compareAll() error {
	cases := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := json.NewEncoder(os.Stdout)
	for cases.More() {
		var c Case
		if err := cases.Decode(&c); err != nil {
			return err
		}
		compared, err := compare(&c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Chart, err)
		}
		if err := out.Encode(compared); err != nil {
			return err
		}
	}
	return nil
}

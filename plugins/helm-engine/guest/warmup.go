//go:build wasip1

package main

import (
	"embed"
	"io/fs"

	"kybern.dev/plugins/helm-engine/render"
)

//go:embed all:warmup
var chart embed.FS

func warmUp() *render.Request {
	var files []render.File
	err := fs.WalkDir(chart, "warmup", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := chart.ReadFile(name)
		files = append(files, render.File{Path: name[len("warmup/"):], Data: data})
		return err
	})
	if err != nil {
		panic(err)
	}
	return &render.Request{
		Chart:        render.ChartSource{Files: files},
		Values:       []string{"replicas: 2\n"},
		Release:      render.Release{Name: "warm", Namespace: "up"},
		Capabilities: render.Capabilities{KubeVersion: "v1.30.0", APIVersions: []string{"v1", "apps/v1"}},
	}
}

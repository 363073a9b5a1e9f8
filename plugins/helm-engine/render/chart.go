package render

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"
)

var byteOrderMark = []byte("\xef\xbb\xbf")

func load(src *ChartSource) (*chart.Chart, error) {
	switch {
	case len(src.Archive) > 0 && len(src.Files) > 0:
		return nil, errors.New("the request holds an archive and files: send one of them")
	case len(src.Archive) > 0:
		return loader.LoadArchive(bytes.NewReader(src.Archive))
	case len(src.Files) > 0:
		return loadFolder(src.Files)
	default:
		return nil, errors.New("the request holds no chart")
	}
}

// loadFolder does for files what Helm's loader does for a folder:
// loader.LoadFiles alone neither knows .helmignore nor drops byte order marks.
func loadFolder(files []File) (*chart.Chart, error) {
	rules, err := ignored(files)
	if err != nil {
		return nil, err
	}
	kept := make([]*archive.BufferedFile, 0, len(files))
	for _, file := range files {
		if file.Path != path.Clean(file.Path) || path.IsAbs(file.Path) || file.Path == ".." || strings.HasPrefix(file.Path, "../") {
			return nil, fmt.Errorf("%q is no path inside a chart", file.Path)
		}
		if !skipped(rules, file.Path) {
			data := bytes.TrimPrefix(content(&file), byteOrderMark)
			kept = append(kept, &archive.BufferedFile{Name: file.Path, Data: data})
		}
	}
	return loader.LoadFiles(kept)
}

func content(file *File) []byte {
	if file.Data != nil {
		return file.Data
	}
	return []byte(file.Text)
}

func ignored(files []File) (*ignore.Rules, error) {
	rules := ignore.Empty()
	for _, file := range files {
		if file.Path == ignore.HelmIgnore {
			read, err := ignore.Parse(bytes.NewReader(content(&file)))
			if err != nil {
				return nil, err
			}
			rules = read
		}
	}
	rules.AddDefaults()
	return rules, nil
}

// skipped asks the rules as the walk through a folder does: for each folder on
// the way, then for the file.
func skipped(rules *ignore.Rules, name string) bool {
	for i, c := range name {
		if c == '/' && rules.Ignore(name[:i], entry{folder: true}) {
			return true
		}
	}
	return rules.Ignore(name, entry{})
}

// entry is a file for the rules, which ask only whether it is a folder.
type entry struct {
	fs.FileInfo
	folder bool
}

func (e entry) IsDir() bool { return e.folder }

// installable holds the two checks that `helm template` makes outside of
// Helm's public packages.
func installable(c *chart.Chart) error {
	if t := c.Metadata.Type; t != "" && t != "application" {
		return fmt.Errorf("%s charts are not installable", t)
	}
	there := map[string]bool{}
	for _, d := range c.Dependencies() {
		there[d.Name()] = true
	}
	var missing []string
	for _, d := range c.Metadata.Dependencies {
		if !there[d.Name] {
			missing = append(missing, d.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("found in Chart.yaml, but missing in charts/ directory: %s", strings.Join(missing, ", "))
	}
	return nil
}

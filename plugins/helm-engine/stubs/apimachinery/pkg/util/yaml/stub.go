// Package yaml stands in for the splitter of streams.
package yaml

import "kybern.dev/plugins/helm-engine/standin/documents"

type YAMLReader = documents.Reader

var NewYAMLReader = documents.NewReader

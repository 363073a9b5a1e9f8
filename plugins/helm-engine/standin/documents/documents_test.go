//go:build native

package documents_test

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	original "k8s.io/apimachinery/pkg/util/yaml"

	"kybern.dev/plugins/helm-engine/standin/documents"
)

type reader interface{ Read() ([]byte, error) }

// all reads to the end, or to an error, which is told.
func all(r reader) (texts []string, failed string) {
	for {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return texts, ""
		}
		if err != nil {
			return texts, err.Error()
		}
		texts = append(texts, string(text))
	}
}

func FuzzDocuments(f *testing.F) {
	for _, text := range []string{
		"", "a", "a\n", "---\n", "---\na\n---\nb", "a\n---\n---\nb\n", "a\n--- \nb", "a\n--- # c\nb", "a\n--- b\nc", "a\n---b\n",
		"a\n ---\nb", "---\r\na\r\n---\r\nb", "a\n---", "\n\n---\n\n", "a: |\n  ---\nb", "----\na", "a\n---\t\nb", "a\n...\nb", "a\n---#c\nb",
		"---\n---\n---", "# only\n---\n# comments\n", "a\n--- \u00a0\nb",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, wantFailed := all(original.NewYAMLReader(bufio.NewReader(strings.NewReader(text))))
		got, failed := all(documents.NewReader(bufio.NewReader(strings.NewReader(text))))
		if failed != wantFailed || !slices.Equal(got, want) {
			t.Fatalf("%q: %q, %s; the original: %q, %s", text, got, failed, want, wantFailed)
		}
	})
}

// Package documents splits a stream of YAML into documents, as
// k8s.io/apimachinery/pkg/util/yaml does.
package documents

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

type Reader struct{ r *bufio.Reader }

func NewReader(r *bufio.Reader) *Reader { return &Reader{r} }

// Read returns the text up to the next separator line, or io.EOF when none is
// left. Only blanks and a comment may follow the dashes of a separator.
func (y *Reader) Read() ([]byte, error) {
	var doc bytes.Buffer
	for {
		line, err := y.r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if rest, ok := bytes.CutPrefix(line, []byte("---")); !ok {
			doc.Write(line)
		} else if rest = bytes.TrimSpace(rest); len(rest) > 0 && rest[0] != '#' {
			return nil, fmt.Errorf("invalid Yaml document separator: %s", rest)
		} else if doc.Len() > 0 {
			return doc.Bytes(), nil
		}
		if err != nil {
			if doc.Len() > 0 {
				return doc.Bytes(), nil
			}
			return nil, io.EOF
		}
	}
}

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

var separator = []byte("---")

// Reader reads documents, one after the other.
type Reader struct{ from *bufio.Reader }

// NewReader reads from here.
func NewReader(from *bufio.Reader) *Reader { return &Reader{from} }

// Read returns the lines up to the next separator, or io.EOF when none are
// left. Only blanks and a comment may follow the dashes of a separator. A
// separator with nothing before it belongs to the document behind it.
func (r *Reader) Read() ([]byte, error) {
	var document bytes.Buffer
	for {
		line, err := r.line()
		if errors.Is(err, io.EOF) {
			if document.Len() == 0 {
				return nil, io.EOF
			}
			return document.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		if rest, ok := bytes.CutPrefix(line, separator); ok {
			rest = bytes.TrimSpace(rest)
			if len(rest) > 0 && rest[0] != '#' {
				return nil, fmt.Errorf("invalid Yaml document separator: %s", rest)
			}
			if document.Len() > 0 {
				return document.Bytes(), nil
			}
		}
		document.Write(line)
		document.WriteByte('\n')
	}
}

// line gives a line without its end, which is \n or \r\n or that of the text.
func (r *Reader) line() ([]byte, error) {
	line, err := r.from.ReadBytes('\n')
	if err != nil && len(line) > 0 && errors.Is(err, io.EOF) {
		return line, nil
	}
	if line, ok := bytes.CutSuffix(line, []byte("\n")); ok {
		return bytes.TrimSuffix(line, []byte("\r")), err
	}
	return line, err
}

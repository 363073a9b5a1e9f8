// Package version parses the leading dotted numbers of a Kubernetes version, as
// k8s.io/apimachinery/pkg/util/version does.
package version

import (
	"fmt"
	"strconv"
	"strings"
)

type Version struct{ parts []uint }

// ParseGeneric reads "v1.33.4-anything" as 1.33.4. It wants two numbers at
// least, without leading zeros, and drops what follows them.
func ParseGeneric(s string) (*Version, error) {
	rest := strings.TrimPrefix(strings.TrimLeft(s, " \t\r\n\v\f"), "v")
	v := &Version{}
	for {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 0 {
			break
		}
		if n > 1 && rest[0] == '0' {
			return nil, fmt.Errorf("illegal zero-prefixed version component %q in %q", rest[:n], s)
		}
		p, err := strconv.ParseUint(rest[:n], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("illegal version component in %q: %w", s, err)
		}
		v.parts = append(v.parts, uint(p))
		if rest = rest[n:]; len(rest) < 2 || rest[0] != '.' || rest[1] < '0' || rest[1] > '9' {
			break
		}
		rest = rest[1:]
	}
	if len(v.parts) < 2 {
		return nil, fmt.Errorf("could not parse %q as version", s)
	}
	return v, nil
}

func (v *Version) Major() uint { return v.parts[0] }
func (v *Version) Minor() uint { return v.parts[1] }

func (v *Version) String() string {
	s := make([]string, len(v.parts))
	for i, p := range v.parts {
		s[i] = strconv.FormatUint(uint64(p), 10)
	}
	return strings.Join(s, ".")
}

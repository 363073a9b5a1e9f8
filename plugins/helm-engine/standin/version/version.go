// Package version parses the leading dotted numbers of a Kubernetes version, as
// k8s.io/apimachinery/pkg/util/version does.
package version

import (
	"fmt"
	"strconv"
	"strings"
)

// Version holds two numbers at least.
type Version struct{ parts []uint }

// ParseGeneric reads "v1.33.4-anything" as 1.33.4. The first number has no
// leading zeros; what follows the last one is not looked at, but for an end of
// line, which no version has.
func ParseGeneric(text string) (*Version, error) {
	rest := strings.TrimPrefix(strings.TrimLeft(text, " \t\r\n\f"), "v")
	numbers := leading(rest)
	if numbers == "" || strings.Contains(rest[len(numbers):], "\n") {
		return nil, fmt.Errorf("could not parse %q as version", text)
	}
	fields := strings.Split(numbers, ".")
	if len(fields) < 2 {
		return nil, fmt.Errorf("illegal version string %q", text)
	}
	v := &Version{}
	for i, field := range fields {
		if i == 0 && field != "0" && field[0] == '0' {
			return nil, fmt.Errorf("illegal zero-prefixed version component %q in %q", field, text)
		}
		part, err := strconv.ParseUint(field, 10, 0)
		if err != nil {
			return nil, fmt.Errorf("illegal non-numeric version component %q in %q: %v", field, text, err)
		}
		v.parts = append(v.parts, uint(part))
	}
	return v, nil
}

// leading gives the digits at the beginning, and the single dots between them.
func leading(text string) string {
	end := 0
	for i, c := range []byte(text) {
		if c == '.' && end == i && i > 0 {
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		end = i + 1
	}
	return text[:end]
}

// Major is the first number.
func (v *Version) Major() uint { return v.parts[0] }

// Minor is the second number.
func (v *Version) Minor() uint { return v.parts[1] }

func (v *Version) String() string {
	texts := make([]string, len(v.parts))
	for i, part := range v.parts {
		texts[i] = strconv.FormatUint(uint64(part), 10)
	}
	return strings.Join(texts, ".")
}

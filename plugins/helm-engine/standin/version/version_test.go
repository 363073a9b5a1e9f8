//go:build native

package version_test

import (
	"testing"

	original "k8s.io/apimachinery/pkg/util/version"

	"kybern.dev/plugins/helm-engine/standin/version"
)

func FuzzVersion(f *testing.F) {
	for _, text := range []string{
		"1.2.3", "v1.2.3", "v1.33", " v1.2", "1", "", "v", "v1.", "1..2", "1.2.3.4", "01.2", "1.02", "0.0", "1.2-rc.1",
		"v1.37.0+k3s1", "1.2.x", "1.2.", "vv1.2", "1.2 ", "4294967296.1", "4294967295.0", "1.18446744073709551616", "-1.2",
		"1.2.3-alpha.1+build", "v1.2.3\n", "1.0x10", "１.2", "\u00a01.2", "\x851.2", "v 1.2",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, wantErr := original.ParseGeneric(text)
		got, err := version.ParseGeneric(text)
		if err != nil || wantErr != nil {
			if err == nil || wantErr == nil || err.Error() != wantErr.Error() {
				t.Fatalf("%q: %v; the original: %v", text, err, wantErr)
			}
			return
		}
		if got.Major() != want.Major() || got.Minor() != want.Minor() || got.String() != want.String() {
			t.Fatalf("%q: %s; the original: %s", text, got, want)
		}
	})
}

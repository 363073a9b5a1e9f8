// Package version stands in for the parser of versions.
package version

import "kybern.dev/plugins/helm-engine/standin/version"

type Version = version.Version

var ParseGeneric = version.ParseGeneric

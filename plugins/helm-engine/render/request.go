package render

// Version is the version of requests and responses.
const Version = 1

// Request says what is rendered. All that the result depends on is in it, but
// for the clock and the random numbers.
type Request struct {
	// Version is [Version]; 0 is taken for it.
	Version int         `json:"version,omitempty"`
	Chart   ChartSource `json:"chart"`
	// Values are YAML documents; a later one wins.
	Values       []string     `json:"values,omitempty"`
	Release      Release      `json:"release"`
	Capabilities Capabilities `json:"capabilities"`
	Lookup       []Lookup     `json:"lookup,omitempty"`
	Options      Options      `json:"options"`
}

// ChartSource is a chart: an archive, or its files.
type ChartSource struct {
	// Archive is a .tgz, base64 in JSON.
	Archive []byte `json:"archive,omitempty"`
	// Files have paths relative to the chart's folder. Its .helmignore is
	// applied here.
	Files []File `json:"files,omitempty"`
}

// File is one file of a chart.
type File struct {
	Path string `json:"path"`
	Text string `json:"text,omitempty"`
	// Data is base64 in JSON, for what is not UTF-8.
	Data []byte `json:"data,omitempty"`
}

// Release is what templates see as .Release.
type Release struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Revision counts from 1; 0 is taken for 1.
	Revision  int  `json:"revision"`
	IsUpgrade bool `json:"isUpgrade"`
}

// Capabilities is what templates see as .Capabilities. The engine knows no API
// versions of its own: what is not in the list does not exist.
type Capabilities struct {
	KubeVersion string   `json:"kubeVersion,omitempty"`
	APIVersions []string `json:"apiVersions,omitempty"`
}

// Lookup is one answer for the template function of that name. Without an
// object and without items it says that there is nothing. Without a name it is
// a list.
type Lookup struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Namespace  string           `json:"namespace,omitempty"`
	Name       string           `json:"name,omitempty"`
	Object     map[string]any   `json:"object,omitempty"`
	Items      []map[string]any `json:"items,omitempty"`
}

// Options are what the flags of `helm template` are.
type Options struct {
	// Strict makes a missing key of values an error.
	Strict bool `json:"strict,omitempty"`
	// SkipSchema leaves values.schema.json unread.
	SkipSchema bool `json:"skipSchema,omitempty"`
	// SubNotes adds the notes of subcharts.
	SubNotes bool `json:"subNotes,omitempty"`
}

package render

// Response is what came of a request. Lists are never null.
type Response struct {
	// Manifests are in the order in which Helm installs them.
	Manifests []Manifest `json:"manifests"`
	Hooks     []Hook     `json:"hooks"`
	// CRDs are the files of the folder crds, which Helm does not template.
	CRDs  []Manifest `json:"crds"`
	Notes string     `json:"notes"`
	// Missing are lookups that templates made and the request does not answer.
	// They got nothing: ask again with the answers.
	Missing []Lookup `json:"missingLookups"`
	Error   *Error   `json:"error,omitempty"`
}

// Manifest is one document of one template.
type Manifest struct {
	Source  string `json:"source"`
	Kind    string `json:"kind"`
	Content string `json:"content"`
}

// Hook is a document with the annotation helm.sh/hook.
type Hook struct {
	Source         string   `json:"source"`
	Kind           string   `json:"kind"`
	Name           string   `json:"name"`
	Events         []string `json:"events"`
	Weight         int      `json:"weight"`
	DeletePolicies []string `json:"deletePolicies"`
	Content        string   `json:"content"`
}

// Error says what is wrong with the chart or the request, in Helm's words.
type Error struct {
	// Stage is request, load, values, capabilities, render or sort.
	Stage   string `json:"stage"`
	Message string `json:"message"`
}

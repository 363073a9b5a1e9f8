package render

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand"

	"github.com/huandu/xstrings"
)

// maxMissing bounds the lookups of one request that wait for an answer.
const maxMissing = 1000

// functions are the template functions that are not Helm's own.
func functions(answers *answers) map[string]any {
	return map[string]any{
		"lookup": answers.lookup,
		// Sprig takes these from a generator that is seeded when the program
		// starts: in a snapshot of a started program they would never differ.
		"randInt": func(low, high int) int { return random().Intn(high-low) + low },
		"shuffle": func(text string) string { return xstrings.ShuffleSource(text, random()) },
	}
}

func random() *rand.Rand {
	var seed [8]byte
	// It does not fail: without random numbers the program ends.
	_, _ = crand.Read(seed[:])
	return rand.New(rand.NewSource(int64(binary.LittleEndian.Uint64(seed[:]))))
}

type lookupKey struct{ apiVersion, kind, namespace, name string }

// answers are what the function lookup knows, and what it was asked beyond.
type answers struct {
	known   map[lookupKey]map[string]any
	asked   map[lookupKey]bool
	missing []Lookup
}

func newAnswers(given []Lookup) *answers {
	known := make(map[lookupKey]map[string]any, len(given))
	for _, l := range given {
		known[lookupKey{l.APIVersion, l.Kind, l.Namespace, l.Name}] = l.result()
	}
	return &answers{known: known, asked: map[lookupKey]bool{}, missing: []Lookup{}}
}

// result is what the template gets: the object, a list, or an empty map.
func (l *Lookup) result() map[string]any {
	switch {
	case l.Object != nil:
		return l.Object
	case l.Items != nil:
		items := make([]any, 0, len(l.Items))
		for _, item := range l.Items {
			items = append(items, item)
		}
		return map[string]any{
			"apiVersion": l.APIVersion,
			"kind":       l.Kind + "List",
			"metadata":   map[string]any{"resourceVersion": ""},
			"items":      items,
		}
	default:
		return map[string]any{}
	}
}

func (a *answers) lookup(apiVersion, kind, namespace, name string) (map[string]any, error) {
	key := lookupKey{apiVersion, kind, namespace, name}
	if result, ok := a.known[key]; ok {
		return result, nil
	}
	if !a.asked[key] {
		if len(a.missing) == maxMissing {
			return nil, fmt.Errorf("more than %d lookups", maxMissing)
		}
		a.asked[key] = true
		a.missing = append(a.missing, Lookup{APIVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name})
	}
	return map[string]any{}, nil
}

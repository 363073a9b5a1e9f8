// A Greeting becomes a ConfigMap that greets, and tells which pods there are.
package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"example.com/greeter/kybern"
)

type object = map[string]any

func decide(situation []byte) ([]byte, error) {
	var given struct {
		Object struct {
			Metadata struct{ Name string }
			Spec     struct{ Name string }
		}
	}
	if err := json.Unmarshal(situation, &given); err != nil {
		return nil, err
	}
	cr := given.Object
	if strings.TrimSpace(cr.Spec.Name) == "" {
		return nil, kybern.Invalid("spec.name: say whom to greet")
	}
	var pods []struct{ Name string }
	if err := kybern.Rows("pods", &pods); err != nil {
		return nil, err
	}
	names := make([]string, len(pods))
	for i, pod := range pods {
		names[i] = pod.Name
	}
	greeting := object{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata":   object{"name": cr.Metadata.Name},
		"data": object{
			"greeting": fmt.Sprintf("Hello, %s!", cr.Spec.Name),
			"pods":     strings.Join(names, ", "),
		},
	}
	return json.Marshal(object{
		"children": "complete",
		"actions": []object{
			{"type": "apply", "object": greeting},
			{"type": "status", "status": object{"pods": len(pods)}},
		},
	})
}

func init() { kybern.Decide = decide }

func main() {}

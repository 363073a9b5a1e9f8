// What Kubernetes' resource.Quantity makes of texts.
//
// Standard input: one JSON string a line. Standard output: one JSON object for each, see answer.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	inf "gopkg.in/inf.v0"
	"k8s.io/apimachinery/pkg/api/resource"
)

type answer struct {
	Valid bool `json:"valid"`
	// As the API server writes it.
	Canonical string `json:"canonical,omitempty"`
	Milli     int64  `json:"milli"`
	Value     int64  `json:"value"`
	// Integers of any length: billionths, and RoundUp to thousandths and to ones.
	Nanos     string `json:"nanos,omitempty"`
	MilliUp   string `json:"milli_up,omitempty"`
	ValueUp   string `json:"value_up,omitempty"`
	// Against the next text, where both are valid.
	Compared *int   `json:"compared,omitempty"`
	Sum      string `json:"sum,omitempty"`
}

// scaled is the quantity in units of 10^scale, rounded up. RoundUp changes what it is asked of.
func scaled(of resource.Quantity, scale resource.Scale) string {
	quantity := of.DeepCopy()
	quantity.RoundUp(scale)
	dec := new(inf.Dec).Set(quantity.AsDec())
	dec.SetScale(dec.Scale() + inf.Scale(scale))
	return new(inf.Dec).Round(dec, 0, inf.RoundExact).UnscaledBig().String()
}

func read(text string) (answer, *resource.Quantity) {
	quantity, err := resource.ParseQuantity(text)
	if err != nil {
		return answer{}, nil
	}
	whole := quantity.DeepCopy()
	// Without the text that the parser may have kept.
	whole.Neg()
	whole.Neg()
	return answer{
		Valid:     true,
		Canonical: whole.String(),
		Milli:     quantity.MilliValue(),
		Value:     quantity.Value(),
		Nanos:     scaled(quantity, resource.Nano),
		MilliUp:   scaled(quantity, resource.Milli),
		ValueUp:   scaled(quantity, 0),
	}, &quantity
}

func run() error {
	lines := bufio.NewScanner(os.Stdin)
	var answers []answer
	var quantities []*resource.Quantity
	for lines.Scan() {
		var text string
		if err := json.Unmarshal(lines.Bytes(), &text); err != nil {
			return fmt.Errorf("line %d: %w", len(answers)+1, err)
		}
		one, quantity := read(text)
		answers = append(answers, one)
		quantities = append(quantities, quantity)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for i := range answers {
		if i+1 < len(answers) && quantities[i] != nil && quantities[i+1] != nil {
			compared := quantities[i].Cmp(*quantities[i+1])
			sum := quantities[i].DeepCopy()
			sum.Add(*quantities[i+1])
			answers[i].Compared = &compared
			answers[i].Sum = scaled(sum, resource.Nano)
		}
		if err := encoder.Encode(answers[i]); err != nil {
			return err
		}
	}
	return out.Flush()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

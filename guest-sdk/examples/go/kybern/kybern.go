// Package kybern is what a plugin sees of its host: copy it into your module.
//
// It speaks the interface kybern:operator@0.1.0 by the names and layouts of the component model's
// canonical ABI; `kybern plugin build --from` makes a component of what Go compiles. Every call of
// a hook runs in a fresh instance, so nothing is ever freed.
package kybern

import (
	"encoding/json"
	"errors"
	"fmt"
	"structs"
	"unsafe"
)

// Decide is the plugin: situation document in, plan document out. Set it in an init function.
var Decide = func([]byte) ([]byte, error) { return nil, errors.New("kybern.Decide is not set") }

// Invalid says that the custom resource is wrong; it is not tried again until it changes.
type Invalid string

func (why Invalid) Error() string { return string(why) }

// Rows reads the whole answer of a query into a pointer to a slice.
func Rows[T any](query string, into *[]T) error {
	var opened result
	open(unsafe.StringData(query), uint32(len(query)), &opened)
	if opened.tag != 0 {
		return readError(query, uint8(opened.first), opened.third, opened.fourth)
	}
	cursor := opened.first
	defer dropCursor(cursor)
	for {
		var page result
		readJSON(cursor, 1000, &page)
		if page.tag != 0 {
			return readError(query, uint8(page.first), page.third, page.fourth)
		}
		if uint8(page.first) == 0 {
			return nil
		}
		var rows []T
		if err := json.Unmarshal(bytesAt(page.second, page.third), &rows); err != nil {
			return fmt.Errorf("query %s: %w", query, err)
		}
		*into = append(*into, rows...)
	}
}

func readError(query string, kind uint8, at, length uint32) error {
	switch kind {
	case 0:
		return fmt.Errorf("query %s: the manifest names no such query", query)
	case 3:
		return fmt.Errorf("query %s: %s", query, bytesAt(at, length))
	}
	return fmt.Errorf("query %s: it was read to its end, or a row is too large", query)
}

// Log writes into the host's log: level 0 debug, 1 info, 2 warn, 3 error.
func Log(level uint32, message string) {
	logWrite(level, unsafe.StringData(message), uint32(len(message)))
}

// result is `result<.., ..>` where the payload is aligned to 8 bytes.
type result struct {
	_                            structs.HostLayout
	tag                          uint8
	_                            [7]byte
	first, second, third, fourth uint32
	_                            [16]byte
}

//go:wasmimport kybern:operator/rows@0.1.0 open
func open(at *byte, length uint32, into *result)

//go:wasmimport kybern:operator/rows@0.1.0 [method]cursor.json
func readJSON(cursor, rows uint32, into *result)

//go:wasmimport kybern:operator/rows@0.1.0 [resource-drop]cursor
func dropCursor(cursor uint32)

//go:wasmimport kybern:operator/log@0.1.0 write
func logWrite(level uint32, at *byte, length uint32)

// What the host holds pointers to, which Go cannot see.
var kept [][]byte

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	bytes := make([]byte, max(size, 1))
	copy(bytes, unsafe.Slice((*byte)(old), oldSize))
	kept = append(kept, bytes)
	return unsafe.Pointer(unsafe.SliceData(bytes))
}

var decided result

//go:wasmexport kybern:operator/decide@0.1.0#decide
func decide(situation *byte, length uint32) *result {
	plan, err := Decide(unsafe.Slice(situation, length))
	if err == nil {
		kept = append(kept, plan)
		decided.first, decided.second = addressOf(plan)
		return &decided
	}
	// The variant `invalid` has number 0, `internal` 3; their text is where a failure's is.
	decided.tag = 1
	decided.first = 3
	if invalid := Invalid(""); errors.As(err, &invalid) {
		decided.first = 0
	}
	why := []byte(err.Error())
	kept = append(kept, why)
	decided.third, decided.fourth = addressOf(why)
	return &decided
}

func addressOf(bytes []byte) (at, length uint32) {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(bytes)))), uint32(len(bytes))
}

func bytesAt(at, length uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(at))), length)
}

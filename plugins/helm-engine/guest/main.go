//go:build wasip1

// Package main is the engine as a WebAssembly module: a reactor whose start-up
// is run once, when it is built, and kept as the module's memory.
package main

import (
	"runtime"
	"unsafe"

	"kybern.dev/plugins/helm-engine/render"
)

func main() {}

// Both stay reachable from here, and the collector moves no objects: they are
// where their addresses say until the next call.
var request, response []byte

// alloc gives the address of n bytes for the next request.
//
//go:wasmexport helm_alloc
func alloc(n uint32) uint32 {
	request = make([]byte, max(n, 1))
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(request))))
}

// answer renders the first n bytes that alloc gave, and gives the response:
// its address in the upper half, its length in the lower one.
//
//go:wasmexport helm_render
func answer(n uint32) uint64 {
	response = render.JSON(request[:n])
	request = nil
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(response))))<<32 | uint64(len(response))
}

// warm renders a chart of nobody's, so that what is made on first use is in
// the snapshot, and nothing of a user's is.
//
//go:wasmexport helm_warm_up
func warm() {
	for range 3 {
		if resp := render.Render(warmUp()); resp.Error != nil {
			panic("the chart to warm up with: " + resp.Error.Stage + ": " + resp.Error.Message)
		}
	}
	request, response = nil, nil
	runtime.GC()
}

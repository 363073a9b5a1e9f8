// Command informer keeps pods in a shared informer of client-go, as a peer of the bench memory.
//
// `informer be-cache SYSTEM URL` answers each line on its standard input with one line, as
// tests/bench/src/child.rs says. Everything is at its default: the garbage collector, streaming
// lists, JSON (the bench's server has nothing else; the objects in memory are the same).
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 || args[0] != "be-cache" {
		return errors.New("usage: informer be-cache SYSTEM URL")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	informer, err := informer(args[1], &rest.Config{Host: args[2]})
	if err != nil {
		return err
	}
	go informer.RunWithContext(ctx)
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		answer, err := answer(informer, questions.Text())
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
	return questions.Err()
}

func informer(system string, config *rest.Config) (cache.SharedIndexInformer, error) {
	switch system {
	case "go-informer-typed":
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return informers.NewSharedInformerFactory(client, 0).Core().V1().Pods().Informer(), nil
	case "go-informer-unstructured":
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
		factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
		return factory.ForResource(pods).Informer(), nil
	}
	return nil, fmt.Errorf("there is no system %q here", system)
}

func answer(informer cache.SharedIndexInformer, question string) (string, error) {
	words := strings.Fields(question)
	switch {
	case len(words) == 3 && words[0] == "wait":
		version, err := strconv.ParseUint(words[2], 10, 64)
		if err != nil {
			return "", err
		}
		for {
			shown, err := shows(informer, words[1], version)
			if err != nil || shown {
				return "ok", err
			}
			time.Sleep(10 * time.Millisecond)
		}
	case len(words) == 1 && words[0] == "settle":
		return "ok", nil
	case len(words) == 1 && words[0] == "budget":
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return fmt.Sprintf("heap in use %d, idle %d, released %d", stats.HeapInuse, stats.HeapIdle, stats.HeapReleased), nil
	}
	return "", fmt.Errorf("it does not know %q", question)
}

// shows says whether the cache has that pod at that version or later.
func shows(informer cache.SharedIndexInformer, key string, version uint64) (bool, error) {
	object, found, err := informer.GetStore().GetByKey(key)
	if err != nil || !found {
		return false, err
	}
	pod, err := meta.Accessor(object)
	if err != nil {
		return false, err
	}
	has, err := strconv.ParseUint(pod.GetResourceVersion(), 10, 64)
	return has >= version, err
}

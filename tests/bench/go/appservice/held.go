package main

import (
	"context"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// held is the handler that Owns has, but that it keeps updates until they are released.
type held struct {
	handler.EventHandler

	mutex   sync.Mutex
	updates []func()
}

func newHeld(manager manager.Manager) *held {
	return &held{EventHandler: handler.EnqueueRequestForOwner(
		manager.GetScheme(), manager.GetRESTMapper(), &AppService{}, handler.OnlyControllerOwner(),
	)}
}

// Update keeps it.
func (h *held) Update(_ context.Context, update event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.updates = append(h.updates, func() {
		h.EventHandler.Update(context.Background(), update, queue)
	})
}

func (h *held) count() int64 {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return int64(len(h.updates))
}

// release hands on what is kept.
func (h *held) release() {
	h.mutex.Lock()
	updates := h.updates
	h.updates = nil
	h.mutex.Unlock()
	for _, update := range updates {
		update()
	}
}

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// podsOfEach is how many pods each AppService has (tests/bench/src/pass/objects.rs).
const podsOfEach = 10

// patience is how long an answer may take.
const patience = 10 * time.Minute

// pass is what the bench pass measures (tests/bench/src/pass.rs): the operator of this command over
// AppServices, children and pods of the server at url, which are as it would leave them. It answers
// lines as tests/bench/src/pass/peer.rs says.
//
// Updates of Deployments are held where the library would enqueue their owners, so that decoding
// and storing them is over when the measurement begins.
func pass(work string, crs int64, url string) error {
	if !slices.Contains([]string{"lookup", "set", "general"}, work) {
		return fmt.Errorf("there is no work %q: lookup, set or general", work)
	}
	if err := oneProcessor(); err != nil {
		return err
	}
	// Only errors are shown.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	manager, err := passManager(url)
	if err != nil {
		return err
	}
	passes := &passes{
		reconciler: reconciler{
			client:   manager.GetClient(),
			scheme:   manager.GetScheme(),
			recorder: manager.GetEventRecorder("appservice"),
		},
		work: work,
		crs:  crs,
		held: newHeld(manager),
	}
	if err := passes.register(manager); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() {
		err := manager.Start(ctx)
		passes.fail(errors.Join(errors.New("the manager stopped"), err))
		stopped <- err
	}()
	err = passes.answer()
	cancel()
	return errors.Join(err, <-stopped)
}

func passManager(url string) (manager.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	// The bench's server has no discovery, and JSON only.
	config := &rest.Config{Host: url, QPS: -1}
	config.ContentType = runtime.ContentTypeJSON
	kinds := func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
		mapper := meta.NewDefaultRESTMapper(nil)
		for _, object := range []client.Object{&AppService{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.Pod{}} {
			kind, err := apiutil.GVKForObject(object, scheme)
			if err != nil {
				return nil, err
			}
			mapper.Add(kind, meta.RESTScopeNamespace)
		}
		return mapper, nil
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:         scheme,
		MapperProvider: kinds,
		Cache:          cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Metrics:        metricsserver.Options{BindAddress: "0"},
	})
}

// passes is the operator, and what it did.
type passes struct {
	reconciler reconciler
	work       string
	crs        int64
	held       *held

	started, ended atomic.Int64
	failure        atomic.Pointer[error]
}

func (p *passes) register(manager manager.Manager) error {
	// All pods are in the cache, whether a reconcile lists them or not.
	if _, err := manager.GetCache().GetInformer(context.Background(), &corev1.Pod{}); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(manager).
		For(&AppService{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		// What Owns does, but for the holding.
		Watches(&appsv1.Deployment{}, p.held).
		Owns(&corev1.Service{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(p)
}

// Reconcile is that of the operator, and what the work asks for beside it.
func (p *passes) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	p.started.Add(1)
	defer p.ended.Add(1)
	result, err := p.reconciler.Reconcile(ctx, request)
	if err == nil && p.work == "general" {
		err = p.reconciler.client.Get(ctx, request.NamespacedName, &appsv1.Deployment{})
	}
	if err == nil && p.work != "lookup" {
		err = p.countPods(ctx, request)
	}
	if err != nil {
		p.fail(err)
	}
	return result, err
}

// countPods counts the pods of an AppService by phase.
func (p *passes) countPods(ctx context.Context, request ctrl.Request) error {
	list := &corev1.PodList{}
	err := p.reconciler.client.List(ctx, list, client.InNamespace(request.Namespace), client.MatchingLabels{"app": request.Name})
	if err != nil {
		return err
	}
	pods := map[corev1.PodPhase]int{}
	for i := range list.Items {
		pods[list.Items[i].Status.Phase]++
	}
	phases := slices.Collect(maps.Keys(pods))
	if p.work == "general" {
		slices.SortFunc(phases, func(one, other corev1.PodPhase) int {
			return cmp.Or(cmp.Compare(pods[other], pods[one]), cmp.Compare(one, other))
		})
	}
	counted := 0
	for _, phase := range phases {
		counted += pods[phase]
	}
	if counted != podsOfEach {
		return fmt.Errorf("%s has %d pods in the cache, not %d", request, counted, podsOfEach)
	}
	return nil
}

// fail remembers the first failure.
func (p *passes) fail(err error) {
	p.failure.CompareAndSwap(nil, &err)
}

func (p *passes) failed() error {
	if failure := p.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// answer answers the lines of standard input until it ends.
func (p *passes) answer() error {
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		var answer string
		var err error
		question, count, _ := strings.Cut(questions.Text(), " ")
		late := time.AfterFunc(patience, func() {
			p.fail(fmt.Errorf("no answer to %q within %s", question, patience))
		})
		switch question {
		case "rest":
			answer, err = "ok", p.rest(p.crs)
		case "passes":
			answer, err = p.run(count)
		default:
			err = fmt.Errorf("it does not know %q: rest or passes COUNT", question)
		}
		late.Stop()
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
	return questions.Err()
}

// rest waits until at least so many reconciles have ended and nothing goes on.
func (p *passes) rest(ended int64) error {
	last, err := processorTime()
	for quiet := 0; quiet < 5 && err == nil; {
		time.Sleep(20 * time.Millisecond)
		var now time.Duration
		now, err = processorTime()
		idle := p.ended.Load() >= ended && p.started.Load() == p.ended.Load()
		if idle && now-last < time.Millisecond {
			quiet++
		} else {
			quiet = 0
		}
		last = now
		err = errors.Join(err, p.failed())
	}
	return err
}

// run lets so many updates of Deployments go once they are in the cache, and measures.
func (p *passes) run(count string) (string, error) {
	due, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return "", err
	}
	for p.held.count() < due {
		time.Sleep(time.Millisecond)
		if err := p.failed(); err != nil {
			return "", err
		}
	}
	before := p.ended.Load()
	if err := p.rest(before); err != nil {
		return "", err
	}
	from, err := processorTime()
	if err != nil {
		return "", err
	}
	began := time.Now()
	p.held.release()
	for p.ended.Load()-before < due && p.failed() == nil {
		time.Sleep(time.Millisecond)
	}
	until, err := processorTime()
	if err != nil {
		return "", err
	}
	wall := time.Since(began)
	if err := p.rest(before + due); err != nil {
		return "", err
	}
	if all := p.ended.Load() - before; all != due {
		return "", fmt.Errorf("%d reconciles of %d AppServices", all, due)
	}
	return fmt.Sprintf(`{"busy":%g,"wall":%g,"count":%d}`, (until - from).Seconds(), wall.Seconds(), due), nil
}

// Command appservice is an operator of AppService on controller-runtime, as a peer of the benches
// converge and pass: a Deployment, a Service of type ClusterIP, the Deployment's counts as status,
// and one Event.
//
// `appservice be-appservice controller-runtime KUBECONFIG` runs until SIGTERM. It is what
// kubebuilder's documentation has (CreateOrUpdate against the cache, Owns, status written when it
// differs), with the settings that its users raise: no limit of requests, ten workers, only changes
// of the spec start a reconcile, and no managedFields in the cache.
//
// `appservice be-pass controller-runtime WORK CRS URL` counts reconciles that find nothing to do
// (pass.go).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

const workers = 10

func main() {
	ctrl.SetLogger(klog.NewKlogr())
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

const usage = "usage: appservice be-appservice controller-runtime KUBECONFIG | be-pass controller-runtime WORK CRS URL"

func run(args []string) error {
	if len(args) < 2 || args[1] != "controller-runtime" {
		return errors.New(usage)
	}
	switch {
	case args[0] == "be-appservice" && len(args) == 3:
		return operate(args[2])
	case args[0] == "be-pass" && len(args) == 5:
		crs, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return err
		}
		return pass(args[2], crs, args[4])
	}
	return errors.New(usage)
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), addToScheme(scheme))
}

func operate(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Cache:   cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	reconciler := &reconciler{
		client:   manager.GetClient(),
		scheme:   scheme,
		recorder: manager.GetEventRecorder("appservice"),
	}
	err = ctrl.NewControllerManagedBy(manager).
		For(&AppService{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(reconciler)
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

type reconciler struct {
	client   client.Client
	scheme   *runtime.Scheme
	recorder events.EventRecorder
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	app := &AppService{}
	if err := r.client.Get(ctx, request.NamespacedName, app); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !app.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	name := metav1.ObjectMeta{Namespace: app.Namespace, Name: app.Name}
	deployment := &appsv1.Deployment{ObjectMeta: name}
	done, err := controllerutil.CreateOrUpdate(ctx, r.client, deployment, func() error {
		wantDeployment(deployment, app)
		return controllerutil.SetControllerReference(app, deployment, r.scheme)
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	service := &corev1.Service{ObjectMeta: name}
	_, err = controllerutil.CreateOrUpdate(ctx, r.client, service, func() error {
		wantService(service, app)
		return controllerutil.SetControllerReference(app, service, r.scheme)
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	if done == controllerutil.OperationResultCreated {
		r.recorder.Eventf(app, nil, corev1.EventTypeNormal, "Created", "Reconcile", "Deployment and Service are created")
	}
	return ctrl.Result{}, r.report(ctx, app, deployment)
}

// wantDeployment sets what is ours and leaves what the API server filled in.
func wantDeployment(deployment *appsv1.Deployment, app *AppService) {
	labels := map[string]string{"app": app.Name}
	setLabel(&deployment.ObjectMeta, app.Name)
	spec := &deployment.Spec
	spec.Replicas = &app.Spec.Size
	spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	spec.Template.Labels = labels
	if len(spec.Template.Spec.Containers) != 1 {
		spec.Template.Spec.Containers = make([]corev1.Container, 1)
	}
	container := &spec.Template.Spec.Containers[0]
	container.Name = "app"
	container.Image = app.Spec.Image
	container.Ports = nil
	for _, port := range app.Spec.Ports {
		container.Ports = append(container.Ports, corev1.ContainerPort{
			ContainerPort: port.TargetPort, Protocol: corev1.ProtocolTCP,
		})
	}
}

func wantService(service *corev1.Service, app *AppService) {
	setLabel(&service.ObjectMeta, app.Name)
	service.Spec.Type = corev1.ServiceTypeClusterIP
	service.Spec.Selector = map[string]string{"app": app.Name}
	service.Spec.Ports = nil
	for _, port := range app.Spec.Ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name:       fmt.Sprintf("port-%d", port.Port),
			Port:       port.Port,
			TargetPort: intstr.FromInt32(port.TargetPort),
			Protocol:   corev1.ProtocolTCP,
		})
	}
}

func setLabel(object *metav1.ObjectMeta, app string) {
	if object.Labels == nil {
		object.Labels = map[string]string{}
	}
	object.Labels["app"] = app
}

// report writes the status if it differs.
func (r *reconciler) report(ctx context.Context, app *AppService, deployment *appsv1.Deployment) error {
	before := app.DeepCopy()
	app.Status.ObservedGeneration = app.Generation
	app.Status.Replicas = deployment.Status.Replicas
	app.Status.ReadyReplicas = deployment.Status.ReadyReplicas
	app.Status.AvailableReplicas = deployment.Status.AvailableReplicas
	app.Status.UpdatedReplicas = deployment.Status.UpdatedReplicas
	app.Status.UnavailableReplicas = deployment.Status.UnavailableReplicas
	setReadiness(&app.Status.Conditions, app, deployment)
	if equality.Semantic.DeepEqual(before.Status, app.Status) {
		return nil
	}
	return r.client.Status().Patch(ctx, app, client.MergeFrom(before))
}

// setReadiness says Ready, or how far the Deployment is.
func setReadiness(conditions *[]metav1.Condition, app *AppService, deployment *appsv1.Deployment) {
	seen := deployment.Status.ObservedGeneration >= deployment.Generation
	if seen && deployment.Status.AvailableReplicas >= app.Spec.Size {
		meta.RemoveStatusCondition(conditions, "Reconciling")
		meta.SetStatusCondition(conditions, metav1.Condition{
			Type:               "Ready",
			Status:             metav1.ConditionTrue,
			Reason:             "Applied",
			Message:            "everything is as planned",
			ObservedGeneration: app.Generation,
		})
		return
	}
	waiting := metav1.Condition{
		Reason:             "Progressing",
		Message:            fmt.Sprintf("waiting for Deployment %s/%s to be ready", app.Namespace, app.Name),
		ObservedGeneration: app.Generation,
	}
	waiting.Type, waiting.Status = "Ready", metav1.ConditionFalse
	meta.SetStatusCondition(conditions, waiting)
	waiting.Type, waiting.Status = "Reconciling", metav1.ConditionTrue
	meta.SetStatusCondition(conditions, waiting)
}

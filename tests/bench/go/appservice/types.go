package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AppService is the custom resource of tests/bench/guests/appservice/crd.yaml.
type AppService struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AppServiceSpec   `json:"spec"`
	Status AppServiceStatus `json:"status,omitempty"`
}

// AppServiceSpec is what is wanted.
type AppServiceSpec struct {
	Size  int32  `json:"size"`
	Image string `json:"image"`
	Ports []Port `json:"ports"`
}

// Port is one port of the Service.
type Port struct {
	Port       int32 `json:"port"`
	TargetPort int32 `json:"targetPort"`
}

// AppServiceStatus has the Deployment's counts.
type AppServiceStatus struct {
	ObservedGeneration  int64              `json:"observedGeneration,omitempty"`
	Replicas            int32              `json:"replicas"`
	ReadyReplicas       int32              `json:"readyReplicas"`
	AvailableReplicas   int32              `json:"availableReplicas"`
	UpdatedReplicas     int32              `json:"updatedReplicas"`
	UnavailableReplicas int32              `json:"unavailableReplicas"`
	Conditions          []metav1.Condition `json:"conditions,omitempty"`
}

// AppServiceList is a list of them.
type AppServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AppService `json:"items"`
}

// DeepCopy is what controller-gen writes.
func (in *AppService) DeepCopy() *AppService {
	out := *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Spec.Ports = append([]Port(nil), in.Spec.Ports...)
	if in.Status.Conditions != nil {
		out.Status.Conditions = make([]metav1.Condition, len(in.Status.Conditions))
		for i := range in.Status.Conditions {
			in.Status.Conditions[i].DeepCopyInto(&out.Status.Conditions[i])
		}
	}
	return &out
}

// DeepCopyObject is what controller-gen writes.
func (in *AppService) DeepCopyObject() runtime.Object { return in.DeepCopy() }

// DeepCopyObject is what controller-gen writes.
func (in *AppServiceList) DeepCopyObject() runtime.Object {
	out := *in
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]AppService, len(in.Items))
	for i := range in.Items {
		out.Items[i] = *in.Items[i].DeepCopy()
	}
	return &out
}

func addToScheme(scheme *runtime.Scheme) error {
	version := schema.GroupVersion{Group: "bench.example.com", Version: "v1"}
	scheme.AddKnownTypes(version, &AppService{}, &AppServiceList{})
	metav1.AddToGroupVersion(scheme, version)
	return nil
}

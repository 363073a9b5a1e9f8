{{/* Name of everything: the release's, with the chart's in it, at most 52 characters: suffixes follow. */}}
{{- define "kybern.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of objects without a namespace: releases of one name in two namespaces keep apart. */}}
{{- define "kybern.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "kybern.fullname" .) -}}
{{- end -}}

{{/* What the Deployment selects by: never changes. */}}
{{- define "kybern.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: host
{{- end -}}

{{/* Labels of every object; takes (list root component). */}}
{{- define "kybern.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "kybern.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kybern.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "kybern.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Name of the Lease, as the host makes it of the class. */}}
{{- define "kybern.lease" -}}
{{- if .Values.class }}kybern-{{ .Values.class }}{{ else }}kybern{{ end -}}
{{- end -}}

{{/* The Secret from which passwords of charts follow, named as the host does. */}}
{{- define "kybern.seed" -}}
{{- include "kybern.lease" . }}-charts
{{- end -}}

{{/* Security of a container: nothing that it does not need, which is everything. */}}
{{- define "kybern.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Security of a Pod. */}}
{{- define "kybern.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The subject of every binding. */}}
{{- define "kybern.subjects" -}}
- kind: ServiceAccount
  name: {{ include "kybern.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Milliseconds of a duration such as 10s, 1500ms or 2m; the schema lets no other through. */}}
{{- define "kybern.millis" -}}
{{- if hasSuffix "ms" . -}}
{{- trimSuffix "ms" . | int -}}
{{- else if hasSuffix "s" . -}}
{{- mul (trimSuffix "s" . | int) 1000 -}}
{{- else -}}
{{- mul (trimSuffix "m" . | int) 60000 -}}
{{- end -}}
{{- end -}}

{{/* What the schema cannot say: values that contradict each other. */}}
{{- define "kybern.validate" -}}
{{- $v := .Values -}}
{{- if gt (len $v.namespaces) 1 -}}
{{- fail "namespaces: this version watches one namespace or all; name one, and install a release with its own class for each further one" -}}
{{- end -}}
{{- if and (not $v.leaderElection.enabled) (gt (int $v.replicas) 1) -}}
{{- fail "leaderElection.enabled: false allows replicas: 1 only, because two hosts would write at once; set replicas to 1 or keep the election" -}}
{{- end -}}
{{- $lease := include "kybern.millis" $v.leaderElection.leaseDuration | int -}}
{{- $renew := include "kybern.millis" $v.leaderElection.renewDeadline | int -}}
{{- $retry := include "kybern.millis" $v.leaderElection.retryPeriod | int -}}
{{- if not (and (lt $retry $renew) (lt $renew $lease) (ge $lease 1000)) -}}
{{- fail (printf "leaderElection: needs retryPeriod < renewDeadline < leaseDuration and a leaseDuration of 1s or more; they are %s, %s, %s" $v.leaderElection.retryPeriod $v.leaderElection.renewDeadline $v.leaderElection.leaseDuration) -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) $v.rbac.create -}}
{{- fail "serviceAccount.name: with serviceAccount.create=false and rbac.create=true the namespace's default ServiceAccount would get the host's rights, and with it every Pod there; name one" -}}
{{- end -}}
{{- range $i, $rule := $v.rbac.pluginRules -}}
{{- if and (has "kybern.dev" $rule.apiGroups) (or (has "create" $rule.verbs) (has "*" $rule.verbs)) (or (has "plugins" $rule.resources) (has "*" $rule.resources)) -}}
{{- fail (printf "rbac.pluginRules[%d]: gives the right to create Plugins, which equals every right of the host; bind it to people, not to the host" $i) -}}
{{- end -}}
{{- if or (has "*" $rule.apiGroups) (and (has "*" $rule.resources) (has "*" $rule.verbs)) -}}
{{- fail (printf "rbac.pluginRules[%d]: a wildcard for groups, or for resources and verbs alike, makes the host an administrator; print the rules that are needed with `kybern rbac -f registration.yaml --values`" $i) -}}
{{- end -}}
{{- end -}}
{{- end -}}

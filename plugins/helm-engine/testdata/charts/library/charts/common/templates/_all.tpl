{{- define "common.override" }}from the library{{ end }}
{{- define "common.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {app: {{ .Chart.Name }}, by: {{ include "common.override" . | quote }}}
spec: {replicas: {{ .Values.replicas }}}
{{- end }}
{{- define "common.merge" -}}
{{- $top := first . }}
{{- $overrides := fromYaml (include (index . 1) $top) | default dict }}
{{- $tpl := fromYaml (include (index . 2) $top) | default dict }}
{{- toYaml (merge $overrides $tpl) }}
{{- end }}

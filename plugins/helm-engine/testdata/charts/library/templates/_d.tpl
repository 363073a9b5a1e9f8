{{- define "library.deployment" -}}
{{ toYaml .Values.extra }}
{{- end }}
{{- define "common.override" }}from the parent{{ end }}

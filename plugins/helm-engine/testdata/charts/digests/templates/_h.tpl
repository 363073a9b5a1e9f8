{{ define "digests.config" }}{{ toYaml .Values }}{{ .Release.Name }}{{ end }}

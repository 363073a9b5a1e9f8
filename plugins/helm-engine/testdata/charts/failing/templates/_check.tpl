{{- define "check" }}{{ if not .Values.ok }}{{ fail (printf "values of %s are not ok:\n - set ok" .Release.Name) }}{{ end }}{{ end }}

{{ define "tpls.name" }}{{ .Chart.Name }}-{{ .Template.Name | base }}{{ end }}

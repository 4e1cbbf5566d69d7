{{- define "image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- if and (not (has $registry (list "quay.io" "docker.io"))) (not .root.Values.global.security.allowInsecureImages) -}}
{{- fail "this registry is not known" -}}
{{- end -}}
{{- $tag := .image.tag | default .root.Chart.AppVersion | toString -}}
{{- if .image.digest -}}
{{ $registry }}/{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ $registry }}/{{ .image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}

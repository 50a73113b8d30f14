{{/* The settings that all services share: those of the values, and those that components bring. */}}
{{- define "millwork.config" -}}
{{- $config := dict "MILLWORK_LOG" "json" "MILLWORK_EXECUTOR_TLS" (ternary "strict" "off" (eq .Values.transport "tls")) -}}
{{- if or .Values.podIdentity .Values.irsaRolePrefix }}{{ $_ := set $config "AWS_EC2_METADATA_DISABLED" "true" }}{{ end -}}
{{- if or .Values.keda .Values.hpa -}}
{{- $_ := set $config "MILLWORK_SCALE_MIN_EXECUTORS" (toString .Values.scale.min) -}}
{{- $_ := set $config "MILLWORK_SCALE_MAX_EXECUTORS" (toString .Values.scale.max) -}}
{{- end -}}
{{- if .Values.karpenter }}{{ $_ := set $config "MILLWORK_DRAIN_SECONDS" "100" }}{{ end -}}
{{- range $name, $value := .Values.config }}{{ $_ := set $config $name (toString $value) }}{{ end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Its name, with a hash of what is in it, so that a change starts pods anew. */}}
{{- define "millwork.configName" -}}
millwork-config-{{ include "millwork.config" . | sha256sum | trunc 10 }}
{{- end -}}

{{/* The file of a component, an object after the other, each changed by "millwork.object". */}}
{{- define "millwork.file" -}}
{{- $root := .root -}}
{{- range $document := splitList "\n---\n" (.root.Files.Get (printf "objects/%s.yaml" .name)) }}
{{- $object := fromYaml $document }}
{{- if $object.kind }}
---
{{ include "millwork.object" (dict "root" $root "object" $object) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One object in its namespace, with labels of the release, and what the values change in its pods. */}}
{{- define "millwork.object" -}}
{{- $object := .object -}}
{{- $values := .root.Values -}}
{{- if not (has $object.kind (list "NodePool" "EC2NodeClass")) }}{{ $_ := set $object.metadata "namespace" .root.Release.Namespace }}{{ end -}}
{{- $_ := set $object.metadata "labels" (merge (dict "app.kubernetes.io/part-of" "millwork") ($object.metadata.labels | default dict)) -}}
{{- if eq $object.kind "Deployment" -}}
{{- $component := index $object.metadata.labels "app.kubernetes.io/component" -}}
{{- include "millwork.deployment" (dict "root" .root "object" $object "component" $component "own" (index $values $component)) -}}
{{- else if eq $object.kind "CronJob" -}}
{{- $_ := set $object.spec.jobTemplate "metadata" (dict "labels" (dict "app.kubernetes.io/part-of" "millwork")) -}}
{{- include "millwork.pod" (dict "root" .root "template" $object.spec.jobTemplate.spec.template) -}}
{{- if $values.karpenter }}{{ $_ := set $object.spec.jobTemplate.spec.template.spec "nodeSelector" (dict "millwork.dev/nodes" "services") }}{{ end -}}
{{- else if and (eq $object.kind "ServiceAccount") $values.irsaRolePrefix -}}
{{- $role := trimPrefix "millwork-" $object.metadata.name -}}
{{- $_ := set $object.metadata "annotations" (dict "eks.amazonaws.com/role-arn" (printf "%s%s" $values.irsaRolePrefix $role) "eks.amazonaws.com/sts-regional-endpoints" "true") -}}
{{- else if eq $object.kind "ScaledObject" -}}
{{- include "millwork.scaled" (dict "root" .root "object" $object) -}}
{{- else if and (eq $object.kind "HorizontalPodAutoscaler") (eq $object.metadata.name "millwork-executor") -}}
{{- $_ := set $object.spec "minReplicas" (max 1 $values.scale.min | int) -}}
{{- $_ := set $object.spec "maxReplicas" ($values.scale.max | int) -}}
{{- else if and (eq $object.kind "ServiceMonitor") (eq $object.metadata.name "millwork-scheduler") (eq $values.transport "tls") -}}
{{- $_ := set (index $object.spec.endpoints 0) "scheme" "https" -}}
{{- $_ := set (index $object.spec.endpoints 0) "tlsConfig" (dict "serverName" "millwork-scheduler" "ca" (dict "secret" (dict "name" "millwork-http-tls" "key" "ca.crt"))) -}}
{{- else if and (eq $object.kind "Certificate") (eq $object.metadata.name "millwork-http-tls") -}}
{{- $names := list -}}
{{- range $name := $object.spec.dnsNames }}{{ $names = append $names ($name | replace ".millwork" (printf ".%s" $.root.Release.Namespace)) }}{{ end -}}
{{- $_ := set $object.spec "dnsNames" $names -}}
{{- end -}}
{{ toYaml $object }}
{{- end -}}

{{/* Image, settings and labels of a pod. */}}
{{- define "millwork.pod" -}}
{{- $image := .root.Values.image -}}
{{- $container := index .template.spec.containers 0 -}}
{{- $name := trimPrefix "millwork-" $container.image -}}
{{- $digest := index $image.digests $name -}}
{{- $_ := set $container "image" (ternary (printf "%s/%s@%s" $image.registry $name ($digest | default "")) (printf "%s/%s:%s" $image.registry $name $image.tag) (not (empty $digest))) -}}
{{- $_ := set (index $container.envFrom 0) "configMapRef" (dict "name" (include "millwork.configName" .root)) -}}
{{- $_ := set .template.metadata "labels" (merge (dict "app.kubernetes.io/part-of" "millwork") .template.metadata.labels) -}}
{{- with $image.pullSecrets }}{{ $_ := set $.template.spec "imagePullSecrets" . }}{{ end -}}
{{- end -}}

{{/* What transport, autoscaler, nodes and the values of the component change in a Deployment. */}}
{{- define "millwork.deployment" -}}
{{- $values := .root.Values -}}
{{- $template := .object.spec.template -}}
{{- include "millwork.pod" (dict "root" .root "template" $template) -}}
{{- $container := index $template.spec.containers 0 -}}
{{- $scales := and (or $values.keda $values.hpa) (ne .component "scheduler") -}}
{{- $added := list -}}
{{- if and (eq $values.transport "tls") (ne .component "builder") -}}
{{- $patch := fromYaml (.root.Files.Get (printf "objects/tls-%s.yaml" .component)) -}}
{{- $from := index $patch.spec.template.spec.containers 0 -}}
{{- $added = concat $added $from.env -}}
{{- $_ := set $container "volumeMounts" (concat $container.volumeMounts $from.volumeMounts) -}}
{{- $_ := set $template.spec "volumes" (concat $template.spec.volumes $patch.spec.template.spec.volumes) -}}
{{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" -}}
{{- with index $from $probe }}{{ $_ := set (index $container $probe "httpGet") "scheme" .httpGet.scheme }}{{ end -}}
{{- end -}}
{{- else if eq .component "scheduler" -}}
{{- range $name := list "INSECURE_HTTP" "INSECURE_EXECUTORS" "MILLWORK_INSECURE_SCALER" }}{{ $added = append $added (dict "name" $name "value" "1") }}{{ end -}}
{{- end -}}
{{- if and $values.keda (eq .component "scheduler") -}}
{{- $added = append $added (dict "name" "MILLWORK_SCALER_LISTEN" "value" "0.0.0.0:50051") -}}
{{- if eq $values.transport "tls" -}}
{{- range $name, $file := dict "CERT" "tls.crt" "KEY" "tls.key" "CA" "ca.crt" }}{{ $added = append $added (dict "name" (printf "MILLWORK_SCALER_TLS_%s" $name) "value" (printf "/etc/millwork/http-tls/%s" $file)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .own.env }}{{ $added = append $added (dict "name" $name "value" (toString $value)) }}{{ end -}}
{{- $_ := set $container "env" (concat ($container.env | default list) $added) -}}
{{- if $scales }}{{ $_ := unset .object.spec "replicas" }}{{ else if hasKey .own "replicas" }}{{ $_ := set .object.spec "replicas" (int .own.replicas) }}{{ end -}}
{{- if $values.karpenter -}}
{{- $_ := set $template.spec "nodeSelector" (dict "millwork.dev/nodes" (ternary "executors" "services" (eq .component "executor"))) -}}
{{- if eq .component "executor" }}{{ $_ := set $template.spec "tolerations" (list (dict "key" "millwork.dev/executors" "operator" "Exists" "effect" "NoSchedule")) }}{{ end -}}
{{- end -}}
{{- with .own.resources }}{{ $_ := set $container "resources" (mergeOverwrite $container.resources .) }}{{ end -}}
{{- with .own.nodeSelector }}{{ $_ := set $template.spec "nodeSelector" . }}{{ end -}}
{{- with .own.tolerations }}{{ $_ := set $template.spec "tolerations" . }}{{ end -}}
{{- with .own.topologySpread }}{{ $_ := set $template.spec "topologySpreadConstraints" . }}{{ end -}}
{{- with .own.annotations }}{{ $_ := set $template.metadata "annotations" . }}{{ end -}}
{{- with .own.labels }}{{ $_ := set $template.metadata "labels" (merge $template.metadata.labels .) }}{{ end -}}
{{- end -}}

{{/* Addresses, limits and certificates of what KEDA scales. */}}
{{- define "millwork.scaled" -}}
{{- $values := .root.Values -}}
{{- $trigger := index .object.spec.triggers 0 -}}
{{- if eq .object.metadata.name "millwork-executor" -}}
{{- $_ := set $trigger.metadata "scalerAddress" (printf "millwork-scheduler-scaler.%s.svc.cluster.local:50051" .root.Release.Namespace) -}}
{{- $_ := set .object.spec "minReplicaCount" (int $values.scale.min) -}}
{{- $_ := set .object.spec "maxReplicaCount" (int $values.scale.max) -}}
{{- if eq $values.transport "tls" }}{{ $_ := set $trigger "authenticationRef" (dict "name" "millwork-scaler") }}{{ end -}}
{{- else -}}
{{- $_ := set $trigger.metadata "queueURL" $values.config.QUEUE_URL -}}
{{- $_ := set $trigger.metadata "awsRegion" $values.config.AWS_REGION -}}
{{- end -}}
{{- end -}}

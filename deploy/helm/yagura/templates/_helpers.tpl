{{/* The release's name, as a prefix of everything. */}}
{{- define "yagura.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What selects all pods of the release. */}}
{{- define "yagura.selector" -}}
app.kubernetes.io/name: yagura
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "yagura.labels" -}}
{{ include "yagura.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "yagura.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "yagura.serviceAccount" -}}
{{- default (ternary (include "yagura.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end }}

{{/* The most pods that detection may have. */}}
{{- define "yagura.detectMost" -}}
{{- ternary (min .Values.keda.maxReplicas .Values.partitions) .Values.detect.replicas .Values.keda.enabled -}}
{{- end }}

{{/* Whether the history is in a bucket. */}}
{{- define "yagura.bucket" -}}
{{- if hasPrefix "s3://" .Values.archive.store }}yes{{ end -}}
{{- end }}

{{/* Every part of the release: name, what it is for, its roles, its sources and ports. JSON. */}}
{{- define "yagura.parts" -}}
{{- $parts := list -}}
{{- $sources := list -}}
{{- $ports := list -}}
{{- range .Values.collectors -}}
{{- $sources = concat $sources .sources -}}
{{- $ports = concat $ports .ports -}}
{{- end -}}
{{- $doors := list -}}
{{- if .Values.serve.api.enabled -}}{{- $doors = append $doors (dict "name" "api" "port" 9601) -}}{{- end -}}
{{- if .Values.serve.postgres.enabled -}}{{- $doors = append $doors (dict "name" "postgres" "port" 5432) -}}{{- end -}}
{{- if eq .Values.mode "single" -}}
{{- $roles := list "collect" "detect" "respond" "archive" "serve" -}}
{{- $parts = append $parts (dict "name" "single" "for" $roles "roles" $roles "sources" $sources "ports" (concat $ports $doors)) -}}
{{- else -}}
{{- $parts = append $parts (dict "name" "detect" "for" (list "detect") "roles" (list "detect") "sources" list "ports" list) -}}
{{- if .Values.sinks -}}
{{- $parts = append $parts (dict "name" "respond" "for" (list "respond") "roles" (list "respond") "sources" list "ports" list) -}}
{{- end -}}
{{- if .Values.archive.enabled -}}
{{- $parts = append $parts (dict "name" "archive" "for" (list "archive") "roles" (list "archive") "sources" list "ports" list) -}}
{{- end -}}
{{- if $doors -}}
{{- $parts = append $parts (dict "name" "serve" "for" (list "serve") "roles" (list "serve") "sources" list "ports" $doors) -}}
{{- end -}}
{{- range .Values.collectors -}}
{{- $parts = append $parts (dict "name" (printf "collect-%s" .name) "for" (list "collect") "roles" (list "collect") "sources" .sources "ports" .ports) -}}
{{- end -}}
{{- end -}}
{{- dict "parts" $parts | toJson -}}
{{- end }}

{{/* What Yagura reads, of one part: root, part, and instance where it is a static member of Kafka's groups. */}}
{{- define "yagura.configuration" -}}
{{- $v := .root.Values -}}
{{- $part := .part -}}
{{- $config := dict "version" 1 "data" "/var/lib/yagura" "console" "0.0.0.0:9600" "partitions" $v.partitions -}}
{{- $config = merge $config (deepCopy $v.settings) -}}
{{- if eq $v.mode "single" -}}
{{- $embedded := dict "retain_hours" $v.single.retainHours -}}
{{- with $v.single.retainBytes -}}{{- $_ := set $embedded "retain_bytes" . -}}{{- end -}}
{{- $_ := set $config "log" (dict "embedded" $embedded) -}}
{{- else -}}
{{- $_ := set $config "roles" $part.roles -}}
{{- $kafka := dict "brokers" $v.kafka.brokers "client_id" (printf "yagura-%s" $part.name) "replication" $v.kafka.replication -}}
{{- with .instance -}}{{- $_ := set $kafka "instance_id" . -}}{{- end -}}
{{- with $v.kafka.topicSettings -}}{{- $_ := set $kafka "topic_settings" . -}}{{- end -}}
{{- with $v.kafka.settings -}}{{- $_ := set $kafka "settings" . -}}{{- end -}}
{{- $security := dict -}}
{{- if $v.kafka.tls.enabled -}}
{{- $tls := dict -}}
{{- if $v.kafka.tls.caSecret.name -}}{{- $_ := set $tls "ca" "kafka-ca/ca.crt" -}}{{- end -}}
{{- if $v.kafka.tls.clientSecret.name -}}
{{- $_ := set $tls "cert" "kafka-client/tls.crt" -}}
{{- $_ := set $tls "key" "kafka-client/tls.key" -}}
{{- end -}}
{{- $_ := set $security "tls" $tls -}}
{{- end -}}
{{- if $v.kafka.sasl.mechanism -}}
{{- $_ := set $security "sasl" (dict "mechanism" $v.kafka.sasl.mechanism "user" $v.kafka.sasl.user "password_file" "kafka-password/password") -}}
{{- end -}}
{{- if $security -}}{{- $_ := set $kafka "security" $security -}}{{- end -}}
{{- $_ := set $config "log" (dict "kafka" $kafka) -}}
{{- end -}}
{{- if has "collect" $part.for -}}
{{- $_ := set $config "collectors" $part.sources -}}
{{- if $v.plantKeySecret.name -}}{{- $_ := set $config "plant_key_file" "plant-key/plant.key" -}}{{- end -}}
{{- if eq $v.mode "kafka" -}}{{- $_ := set $config "spool" (dict "bytes" .spool) -}}{{- end -}}
{{- end -}}
{{- if has "respond" $part.for -}}{{- $_ := set $config "sinks" $v.sinks -}}{{- end -}}
{{- if has "serve" $part.for -}}
{{- $tls := dict "certificate" "serve-tls/tls.crt" "key" "serve-tls/tls.key" -}}
{{- if $v.serve.api.enabled -}}
{{- $_ := set $config "api" (dict "listen" "0.0.0.0:9601" "tls" $tls "token_file" "api-tokens/tokens") -}}
{{- end -}}
{{- if $v.serve.postgres.enabled -}}
{{- $_ := set $config "postgres" (dict "listen" "0.0.0.0:5432" "tls" $tls "users_file" "postgres-users/users" "memory" $v.serve.postgres.memory) -}}
{{- end -}}
{{- end -}}
{{- $asks := and (has "serve" $part.for) $v.serve.postgres.enabled -}}
{{- if and (or (has "archive" $part.for) $asks) $v.archive.enabled -}}
{{- $archive := dict "store" (default "/var/lib/yagura/history" $v.archive.store) "keep" $v.archive.keep "flush_every" $v.archive.flushEvery "compact" $v.archive.compact -}}
{{- $_ := set $config "archive" $archive -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* Names of what is put into a part's pods: root, part. JSON list of volumes with their sources. */}}
{{- define "yagura.volumes" -}}
{{- $v := .root.Values -}}
{{- $out := list -}}
{{- $for := .part.for -}}
{{- range $v.files -}}
{{- $meant := false -}}
{{- range (default (list "detect" "respond" "archive" "serve" "collect") .parts) -}}{{- if has . $for -}}{{- $meant = true -}}{{- end -}}{{- end -}}
{{- if $meant -}}
{{- $source := ternary (dict "secret" (dict "secretName" .secret "defaultMode" 288)) (dict "configMap" (dict "name" .configMap)) (hasKey . "secret") -}}
{{- $out = append $out (merge (dict "name" .name) $source) -}}
{{- end -}}
{{- end -}}
{{- if and (has "collect" $for) $v.plantKeySecret.name -}}
{{- $out = append $out (dict "name" "plant-key" "secret" (dict "secretName" $v.plantKeySecret.name "defaultMode" 288 "items" (list (dict "key" $v.plantKeySecret.key "path" "plant.key")))) -}}
{{- end -}}
{{- if has "serve" $for -}}
{{- if or $v.serve.api.enabled $v.serve.postgres.enabled -}}
{{- $out = append $out (dict "name" "serve-tls" "secret" (dict "secretName" $v.serve.tlsSecret "defaultMode" 288)) -}}
{{- end -}}
{{- with $v.serve.api -}}{{- if .enabled -}}
{{- $out = append $out (dict "name" "api-tokens" "secret" (dict "secretName" .tokenSecret.name "defaultMode" 288 "items" (list (dict "key" .tokenSecret.key "path" "tokens")))) -}}
{{- end -}}{{- end -}}
{{- with $v.serve.postgres -}}{{- if .enabled -}}
{{- $out = append $out (dict "name" "postgres-users" "secret" (dict "secretName" .usersSecret.name "defaultMode" 288 "items" (list (dict "key" .usersSecret.key "path" "users")))) -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- if eq $v.mode "kafka" -}}
{{- with $v.kafka.tls -}}
{{- if and .enabled .caSecret.name -}}
{{- $out = append $out (dict "name" "kafka-ca" "secret" (dict "secretName" .caSecret.name "defaultMode" 288 "items" (list (dict "key" .caSecret.key "path" "ca.crt")))) -}}
{{- end -}}
{{- if and .enabled .clientSecret.name -}}
{{- $items := list (dict "key" .clientSecret.certificateKey "path" "tls.crt") (dict "key" .clientSecret.keyKey "path" "tls.key") -}}
{{- $out = append $out (dict "name" "kafka-client" "secret" (dict "secretName" .clientSecret.name "defaultMode" 288 "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- with $v.kafka.sasl -}}
{{- if .mechanism -}}
{{- $out = append $out (dict "name" "kafka-password" "secret" (dict "secretName" .passwordSecret.name "defaultMode" 288 "items" (list (dict "key" .passwordSecret.key "path" "password")))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "volumes" $out | toJson -}}
{{- end }}

{{/* A pod: root, part, resources; data (a volume for /var/lib/yagura, none when a claim template makes it),
     instances (how many configurations of its own the set's pods have), env. */}}
{{- define "yagura.pod" -}}
{{- $root := .root -}}
{{- $v := .root.Values -}}
{{- $full := include "yagura.fullname" .root -}}
{{- $name := printf "%s-%s" $full .part.name -}}
{{- $extra := (include "yagura.volumes" (dict "root" .root "part" .part) | fromJson).volumes -}}
metadata:
  labels:
    {{- include "yagura.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .part.name }}
    {{- with $v.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/configuration: {{ .configuration | sha256sum }}
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "yagura.serviceAccount" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
  {{- with $v.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $v.runAsUser }}
    runAsGroup: {{ $v.runAsUser }}
    fsGroup: {{ $v.runAsUser }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: yagura
      image: {{ include "yagura.image" .root | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args: [run, --config, /etc/yagura/yagura.yaml]
      env:
        - { name: YAGURA_LOG, value: {{ $v.logLevel | quote }} }
        {{- if .instances }}
        - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
        {{- if and $v.keda.enabled $v.kafka.sasl.mechanism }}
        # No secret, but KEDA takes it from here.
        - { name: KAFKA_USER, value: {{ $v.kafka.sasl.user | quote }} }
        {{- end }}
        {{- end }}
      {{- with .credentials }}
      envFrom:
        - secretRef: { name: {{ . }} }
      {{- end }}
      ports:
        - { name: metrics, containerPort: 9600 }
        {{- range .part.ports }}
        - { name: {{ .name }}, containerPort: {{ .port }}, protocol: {{ default "TCP" .protocol }} }
        {{- end }}
      # Connecting to the log and reading snapshots may take its time.
      startupProbe:
        httpGet: { path: /live, port: metrics }
        periodSeconds: 5
        failureThreshold: 60
      # Whether all that has work gets on with it; a broker or a receiver that is away is no reason to restart.
      livenessProbe:
        httpGet: { path: /live, port: metrics }
        periodSeconds: 15
        timeoutSeconds: 5
        failureThreshold: 4
      # Whether partitions are assigned.
      readinessProbe:
        httpGet: { path: /ready, port: metrics }
        periodSeconds: 10
        timeoutSeconds: 5
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - name: configuration
          mountPath: /etc/yagura/yagura.yaml
          {{- if .instances }}
          subPathExpr: $(POD_NAME).yaml
          {{- else }}
          subPath: yagura.yaml
          {{- end }}
          readOnly: true
        - { name: data, mountPath: /var/lib/yagura }
        - { name: tmp, mountPath: /tmp }
        {{- range $extra }}
        - { name: {{ .name }}, mountPath: /etc/yagura/{{ .name }}, readOnly: true }
        {{- end }}
  volumes:
    - name: configuration
      {{- if .instances }}
      # Each pod is a static member of Kafka's groups under a name of its own.
      projected:
        sources:
          {{- range until (int .instances) }}
          - configMap:
              name: {{ $name }}-{{ . }}
              items: [{ key: yagura.yaml, path: {{ $name }}-{{ . }}.yaml }]
          {{- end }}
      {{- else }}
      configMap: { name: {{ $name }} }
      {{- end }}
    - name: tmp
      emptyDir: { sizeLimit: 1Gi }
    {{- with .data }}
    - name: data
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- range $extra }}
    - {{ toYaml . | nindent 6 | trim }}
    {{- end }}
{{- end }}

{{/* A volume that a set makes for each of its pods. */}}
{{- define "yagura.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests: { storage: {{ .size }} }
{{- end }}

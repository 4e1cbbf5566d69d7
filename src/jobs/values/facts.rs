//! What is known about particular charts. Rendering shows everything else.
//!
//! Thoras charts differ by version, so a key counts only if this chart has it: in its values, or read by its
//! templates.

/// With this switch, charts that are built on Bitnami's library permit registries other than their own.
pub(super) const PERMITS_OTHER_REGISTRIES: &str = "global.security.allowInsecureImages";

/// The chart creates a pull secret from these for its registry, whichever registry that is.
pub(super) const USERNAME: &str = "imageCredentials.username";
pub(super) const PASSWORD: &str = "imageCredentials.password";
/// An existing pull secret; with a password as well, the chart fails.
pub(super) const SECRET: &str = "imageCredentials.secretRef";
/// Since 4.81.0.
pub(super) const SECRET_IN_PODS: &str = "imageCredentials.imagePullSecretInDeployment";

/// The number of forecast workers: 1 up to 4.128.0. Since 4.128.1 it is unset, and setting it switches the scaler off.
pub(super) const WORKERS: &str = "thorasForecast.worker.replicas";
/// Whether forecast workers run at all: off by default from 4.20.0 to 4.30.1.
pub(super) const WORKER_SWITCH: &str = "thorasForecast.worker.enabled";
/// Since 4.121.0.
pub(super) const SCALER: &str = "thorasForecast.worker.scaler";
/// From 4.121.0 (off by default; on since 4.126.0) to 4.128.0.
pub(super) const SCALER_SWITCH: &str = "thorasForecast.worker.scaler.enabled";
/// How many workloads one worker forecasts, by the vendor's guide.
pub(super) const WORKLOADS_PER_WORKER: u32 = 100;

/// Off by default up to 4.132; since 4.133.0 on if there is a class, a size or a file system, but not for a volume alone.
pub(super) const PERSISTENCE: &str = "metricsCollector.persistence.enabled";
pub(super) const STORAGE_SIZE: &str = "metricsCollector.persistence.pvcStorageRequestSize";
pub(super) const STORAGE_CLASS: &str = "metricsCollector.persistence.storageClassName";
pub(super) const VOLUME: &str = "metricsCollector.persistence.volumeName";
pub(super) const ACCESS_MODE: &str = "metricsCollector.persistence.accessMode";
pub(super) const FILE_SYSTEM: &str = "metricsCollector.persistence.createEFSStorageClass.fileSystemId";

/// The tags of the image `services`, which several components run. Some of them run only with other values.
pub(super) const SERVICES_TAGS: [&str; 7] = [
    "thorasOperator.imageTag",
    "thorasApiServerV2.imageTag",
    "thorasWorker.imageTag",
    "metricsCollector.blobService.imageTag",
    "metricsCollector.collector.imageTag",
    "thorasMonitor.imageTag",
    "thorasAgent.imageTag",
];

/// Values that make components access something outside the cluster, and what the user should know then.
pub(super) const EGRESS: [(&str, &str); 6] = [
    (
        "cloudSync.clusterKeyID",
        "cloudSync is on and needs https access to its baseUrl: behind an air gap, unset cloudSync.clusterKeyID.",
    ),
    ("slackWebhookUrl", "A Slack webhook is set and needs https access to it: behind an air gap, unset it."),
    (
        "slackWebhookUrlSecretRefName",
        "A Slack webhook is set and needs https access to it: behind an air gap, unset it.",
    ),
    (
        "proxy.httpProxy",
        "A proxy is set (proxy.*): all components use it, and its noProxy must list what is in the cluster.",
    ),
    (
        "proxy.httpsProxy",
        "A proxy is set (proxy.*): all components use it, and its noProxy must list what is in the cluster.",
    ),
    (
        "networkPolicy.enabled",
        "networkPolicy.enabled creates CiliumNetworkPolicy resources: the cluster needs Cilium.",
    ),
];

/// A secret that the chart generates on every rendering unless it is set or in the cluster already.
pub(super) const CLIENT_SECRET: &str = "apiClientSecret.secret";
/// Whether that secret is used.
pub(super) const USES_CLIENT_SECRET: &str = "featureFlags.enableSimpleAuthSecret";

package kubeadm

// fieldNames are the fields of documents as dotted paths, per kind and version
// of the API. A path without paths below it takes any value. Of kubelet and
// kube-proxy, whose fields come and go with every release, the first level only
// is listed, and only what looks like a slip of the pen is refused.
var fieldNames = map[string]map[string]string{
	kindInit: {
		apiV1beta3: "bootstrapTokens nodeRegistration nodeRegistration.name nodeRegistration.criSocket nodeRegistration.taints " +
			"nodeRegistration.kubeletExtraArgs nodeRegistration.ignorePreflightErrors nodeRegistration.imagePullPolicy " +
			"localAPIEndpoint localAPIEndpoint.advertiseAddress localAPIEndpoint.bindPort certificateKey skipPhases patches " +
			"patches.directory ",
		apiV1beta4: "bootstrapTokens dryRun nodeRegistration nodeRegistration.name nodeRegistration.criSocket " +
			"nodeRegistration.taints nodeRegistration.kubeletExtraArgs nodeRegistration.ignorePreflightErrors " +
			"nodeRegistration.imagePullPolicy nodeRegistration.imagePullSerial localAPIEndpoint " +
			"localAPIEndpoint.advertiseAddress localAPIEndpoint.bindPort certificateKey skipPhases patches " +
			"patches.directory timeouts timeouts.controlPlaneComponentHealthCheck timeouts.kubeletHealthCheck " +
			"timeouts.kubernetesAPICall timeouts.etcdAPICall timeouts.tlsBootstrap timeouts.discovery " +
			"timeouts.upgradeManifests ",
	},
	kindCluster: {
		apiV1beta3: "etcd etcd.local etcd.local.imageRepository etcd.local.imageTag etcd.local.dataDir etcd.local.extraArgs " +
			"etcd.local.serverCertSANs etcd.local.peerCertSANs etcd.external etcd.external.endpoints etcd.external.caFile " +
			"etcd.external.certFile etcd.external.keyFile networking networking.serviceSubnet networking.podSubnet " +
			"networking.dnsDomain kubernetesVersion controlPlaneEndpoint apiServer apiServer.extraArgs " +
			"apiServer.extraVolumes apiServer.certSANs apiServer.timeoutForControlPlane controllerManager " +
			"controllerManager.extraArgs controllerManager.extraVolumes scheduler scheduler.extraArgs " +
			"scheduler.extraVolumes dns dns.imageRepository dns.imageTag certificatesDir imageRepository featureGates " +
			"clusterName ",
		apiV1beta4: "etcd etcd.local etcd.local.imageRepository etcd.local.imageTag etcd.local.dataDir etcd.local.extraArgs " +
			"etcd.local.extraEnvs etcd.local.serverCertSANs etcd.local.peerCertSANs etcd.external etcd.external.endpoints " +
			"etcd.external.httpEndpoints etcd.external.caFile etcd.external.certFile etcd.external.keyFile networking " +
			"networking.serviceSubnet networking.podSubnet networking.dnsDomain kubernetesVersion controlPlaneEndpoint " +
			"apiServer apiServer.extraArgs apiServer.extraVolumes apiServer.extraEnvs apiServer.certSANs controllerManager " +
			"controllerManager.extraArgs controllerManager.extraVolumes controllerManager.extraEnvs scheduler " +
			"scheduler.extraArgs scheduler.extraVolumes scheduler.extraEnvs dns dns.imageRepository dns.imageTag " +
			"dns.disabled proxy proxy.disabled certificatesDir imageRepository featureGates clusterName encryptionAlgorithm " +
			"certificateValidityPeriod caCertificateValidityPeriod ",
	},
	kindJoin: {
		apiV1beta3: "nodeRegistration nodeRegistration.name nodeRegistration.criSocket nodeRegistration.taints " +
			"nodeRegistration.kubeletExtraArgs nodeRegistration.ignorePreflightErrors nodeRegistration.imagePullPolicy " +
			"caCertPath discovery discovery.bootstrapToken discovery.bootstrapToken.token " +
			"discovery.bootstrapToken.apiServerEndpoint discovery.bootstrapToken.caCertHashes " +
			"discovery.bootstrapToken.unsafeSkipCAVerification discovery.file discovery.file.kubeConfigPath " +
			"discovery.tlsBootstrapToken discovery.timeout controlPlane controlPlane.localAPIEndpoint " +
			"controlPlane.localAPIEndpoint.advertiseAddress controlPlane.localAPIEndpoint.bindPort " +
			"controlPlane.certificateKey skipPhases patches patches.directory ",
		apiV1beta4: "dryRun nodeRegistration nodeRegistration.name nodeRegistration.criSocket nodeRegistration.taints " +
			"nodeRegistration.kubeletExtraArgs nodeRegistration.ignorePreflightErrors nodeRegistration.imagePullPolicy " +
			"nodeRegistration.imagePullSerial caCertPath discovery discovery.bootstrapToken discovery.bootstrapToken.token " +
			"discovery.bootstrapToken.apiServerEndpoint discovery.bootstrapToken.caCertHashes " +
			"discovery.bootstrapToken.unsafeSkipCAVerification discovery.file discovery.file.kubeConfigPath " +
			"discovery.tlsBootstrapToken controlPlane controlPlane.localAPIEndpoint " +
			"controlPlane.localAPIEndpoint.advertiseAddress controlPlane.localAPIEndpoint.bindPort " +
			"controlPlane.certificateKey skipPhases patches patches.directory timeouts " +
			"timeouts.controlPlaneComponentHealthCheck timeouts.kubeletHealthCheck timeouts.kubernetesAPICall " +
			"timeouts.etcdAPICall timeouts.tlsBootstrap timeouts.discovery timeouts.upgradeManifests ",
	},
	kindKubelet: {apiKubelet: "enableServer staticPodPath podLogsDir syncFrequency fileCheckFrequency httpCheckFrequency staticPodURL " +
		"staticPodURLHeader address port readOnlyPort tlsCertFile tlsPrivateKeyFile tlsCipherSuites tlsMinVersion " +
		"rotateCertificates serverTLSBootstrap authentication authorization registryPullQPS registryBurst " +
		"eventRecordQPS eventBurst enableDebuggingHandlers enableContentionProfiling healthzPort healthzBindAddress " +
		"oomScoreAdj clusterDomain clusterDNS streamingConnectionIdleTimeout nodeStatusUpdateFrequency " +
		"nodeStatusReportFrequency nodeLeaseDurationSeconds imageMinimumGCAge imageMaximumGCAge " +
		"imageGCHighThresholdPercent imageGCLowThresholdPercent volumeStatsAggPeriod kubeletCgroups systemCgroups " +
		"cgroupRoot cgroupsPerQOS cgroupDriver cpuManagerPolicy singleProcessOOMKill cpuManagerPolicyOptions " +
		"cpuManagerReconcilePeriod memoryManagerPolicy topologyManagerPolicy topologyManagerScope " +
		"topologyManagerPolicyOptions qosReserved runtimeRequestTimeout hairpinMode maxPods podCIDR podPidsLimit " +
		"resolvConf runOnce cpuCFSQuota cpuCFSQuotaPeriod nodeStatusMaxImages maxOpenFiles contentType kubeAPIQPS " +
		"kubeAPIBurst serializeImagePulls maxParallelImagePulls evictionHard evictionSoft evictionSoftGracePeriod " +
		"evictionPressureTransitionPeriod evictionMaxPodGracePeriod evictionMinimumReclaim podsPerCore " +
		"enableControllerAttachDetach protectKernelDefaults makeIPTablesUtilChains iptablesMasqueradeBit " +
		"iptablesDropBit featureGates failSwapOn memorySwap containerLogMaxSize containerLogMaxFiles " +
		"containerLogMaxWorkers containerLogMonitorInterval configMapAndSecretChangeDetectionStrategy systemReserved " +
		"kubeReserved reservedSystemCPUs showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup " +
		"enforceNodeAllocatable allowedUnsafeSysctls volumePluginDir providerID kernelMemcgNotification logging " +
		"enableSystemLogHandler enableSystemLogQuery shutdownGracePeriod shutdownGracePeriodCriticalPods " +
		"shutdownGracePeriodByPodPriority crashLoopBackOff reservedMemory enableProfilingHandler " +
		"enableDebugFlagsHandler seccompDefault memoryThrottlingFactor registerWithTaints registerNode tracing " +
		"localStorageCapacityIsolation containerRuntimeEndpoint imageServiceEndpoint failCgroupV1 " +
		"mergeDefaultEvictionSettings imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist " +
		"userNamespaces "},
	kindKubeProxy: {apiKubeProxy: "featureGates clientConnection logging hostnameOverride bindAddress healthzBindAddress metricsBindAddress " +
		"bindAddressHardFail enableProfiling showHiddenMetricsForVersion mode iptables ipvs nftables winkernel " +
		"detectLocalMode detectLocal clusterCIDR nodePortAddresses oomScoreAdj conntrack configSyncPeriod portRange " +
		"windowsRunAsService "},
}

// entryNames are the fields of the entries of lists that merge by name.
const (
	argumentFields = "name value"
	volumeFields   = "name hostPath mountPath readOnly pathType"
)

package kubeadm

// The fields of kubeadm's documents that v1beta3 and v1beta4 have in common, and the timeouts of v1beta4.
const (
	initFields = "bootstrapTokens nodeRegistration nodeRegistration.name nodeRegistration.criSocket nodeRegistration.taints " +
		"nodeRegistration.kubeletExtraArgs nodeRegistration.ignorePreflightErrors nodeRegistration.imagePullPolicy " +
		"localAPIEndpoint localAPIEndpoint.advertiseAddress localAPIEndpoint.bindPort certificateKey skipPhases patches " +
		"patches.directory "
	clusterFields = "etcd etcd.local etcd.local.imageRepository etcd.local.imageTag etcd.local.dataDir etcd.local.extraArgs " +
		"etcd.local.serverCertSANs etcd.local.peerCertSANs etcd.external etcd.external.endpoints etcd.external.caFile " +
		"etcd.external.certFile etcd.external.keyFile networking networking.serviceSubnet networking.podSubnet " +
		"networking.dnsDomain kubernetesVersion controlPlaneEndpoint apiServer apiServer.extraArgs apiServer.extraVolumes " +
		"apiServer.certSANs controllerManager controllerManager.extraArgs controllerManager.extraVolumes scheduler " +
		"scheduler.extraArgs scheduler.extraVolumes dns dns.imageRepository dns.imageTag certificatesDir imageRepository " +
		"featureGates clusterName "
	joinFields = "nodeRegistration nodeRegistration.name nodeRegistration.criSocket nodeRegistration.taints " +
		"nodeRegistration.kubeletExtraArgs nodeRegistration.ignorePreflightErrors nodeRegistration.imagePullPolicy caCertPath " +
		"discovery discovery.bootstrapToken discovery.bootstrapToken.token discovery.bootstrapToken.apiServerEndpoint " +
		"discovery.bootstrapToken.caCertHashes discovery.bootstrapToken.unsafeSkipCAVerification discovery.file " +
		"discovery.file.kubeConfigPath discovery.tlsBootstrapToken controlPlane controlPlane.localAPIEndpoint " +
		"controlPlane.localAPIEndpoint.advertiseAddress controlPlane.localAPIEndpoint.bindPort controlPlane.certificateKey " +
		"skipPhases patches patches.directory "
	timeoutFields = "timeouts timeouts.controlPlaneComponentHealthCheck timeouts.kubeletHealthCheck timeouts.kubernetesAPICall " +
		"timeouts.etcdAPICall timeouts.tlsBootstrap timeouts.discovery timeouts.upgradeManifests "
)

// fieldNames are the fields of documents as dotted paths, per kind and version of the API. A path without paths below it takes
// any value. kubelet and kube-proxy change their fields with every release: only their first level is listed, and only a field
// that resembles a listed one is refused.
var fieldNames = map[string]map[string]string{
	kindInit: {
		apiV1beta3: initFields,
		apiV1beta4: initFields + timeoutFields + "dryRun nodeRegistration.imagePullSerial ",
	},
	kindCluster: {
		apiV1beta3: clusterFields + "apiServer.timeoutForControlPlane ",
		apiV1beta4: clusterFields + "etcd.local.extraEnvs etcd.external.httpEndpoints apiServer.extraEnvs controllerManager.extraEnvs scheduler.extraEnvs " +
			"dns.disabled proxy proxy.disabled encryptionAlgorithm certificateValidityPeriod caCertificateValidityPeriod ",
	},
	kindJoin: {
		apiV1beta3: joinFields + "discovery.timeout ",
		apiV1beta4: joinFields + timeoutFields + "dryRun nodeRegistration.imagePullSerial ",
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

// The fields of entries of lists that merge by name.
const (
	argumentFields = "name value"
	volumeFields   = "name hostPath mountPath readOnly pathType"
)

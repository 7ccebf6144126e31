package installer

type meta struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
}

type sshDoc struct {
	User     string `yaml:"user,omitempty"`
	Passwd   string `yaml:"passwd,omitempty"`
	PK       string `yaml:"pk,omitempty"`
	PKName   string `yaml:"pkName,omitempty"`
	PKData   string `yaml:"pkData,omitempty"`
	PKPasswd string `yaml:"pkPasswd,omitempty"`
	Port     int    `yaml:"port,omitempty"`
	Jump     string `yaml:"jump,omitempty"`
}

type hostDoc struct {
	IPs   []string `yaml:"ips"`
	Roles []string `yaml:"roles"`
	Env   []string `yaml:"env,omitempty"`
	SSH   *sshDoc  `yaml:"ssh,omitempty"`
}

type metadataDoc struct {
	Name              string            `yaml:"name"`
	CreationTimestamp string            `yaml:"creationTimestamp,omitempty"`
	Annotations       map[string]string `yaml:"annotations,omitempty"`
	Labels            map[string]string `yaml:"labels,omitempty"`
}

type clusterDoc struct {
	meta     `yaml:",inline"`
	Metadata metadataDoc `yaml:"metadata"`
	Spec     struct {
		Image   []string  `yaml:"image,omitempty"`
		SSH     sshDoc    `yaml:"ssh,omitempty"`
		Hosts   []hostDoc `yaml:"hosts"`
		Env     []string  `yaml:"env,omitempty"`
		Command []string  `yaml:"command,omitempty"`
	} `yaml:"spec"`
	Status *Status `yaml:"status,omitempty"`
}

type configDoc struct {
	meta     `yaml:",inline"`
	Metadata metadataDoc `yaml:"metadata"`
	Spec     struct {
		Match    string `yaml:"match,omitempty"`
		Path     string `yaml:"path"`
		Strategy string `yaml:"strategy,omitempty"`
		Data     string `yaml:"data"`
	} `yaml:"spec"`
}

// Status is what the last run found, written into the Clusterfile.
type Status struct {
	Phase             string      `yaml:"phase,omitempty"`
	Mounts            []Mount     `yaml:"mounts,omitempty"`
	Conditions        []Condition `yaml:"conditions,omitempty"`
	CommandConditions []Condition `yaml:"commandCondition,omitempty"`
}

// Mount tells of a cluster image where it is unpacked, and what it says of itself.
type Mount struct {
	Name       string            `yaml:"name"`
	Type       string            `yaml:"type"`
	ImageName  string            `yaml:"imageName"`
	MountPoint string            `yaml:"mountPoint"`
	Env        map[string]string `yaml:"env,omitempty"`
	Labels     map[string]string `yaml:"labels,omitempty"`
	Cmd        []string          `yaml:"cmd,omitempty"`
	Entrypoint []string          `yaml:"entrypoint,omitempty"`
}

// Condition is one fact about the cluster, in the form that sealos has.
type Condition struct {
	Type              string   `yaml:"type"`
	Status            string   `yaml:"status"`
	Reason            string   `yaml:"reason,omitempty"`
	Message           string   `yaml:"message,omitempty"`
	LastHeartbeatTime string   `yaml:"lastHeartbeatTime,omitempty"`
	Images            []string `yaml:"images,omitempty"`
	SealCmd           string   `yaml:"sealCmd,omitempty"`
}

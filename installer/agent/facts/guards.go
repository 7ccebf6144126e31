package facts

import (
	"slices"
	"strings"
)

// fapolicyd tells whether that daemon, which lets nothing run that no package manager installed, is at work:
// "enforcing", "permissive" (it only logs), or empty.
func (m machine) fapolicyd(processes map[string]string) string {
	if processes["fapolicyd"] == "" {
		return ""
	}
	for _, l := range m.Lines("/etc/fapolicyd/fapolicyd.conf") {
		key, value, _ := strings.Cut(l, "=")
		if strings.TrimSpace(key) == "permissive" && strings.TrimSpace(value) == "1" {
			return "permissive"
		}
	}
	return "enforcing"
}

// scannerNames are the daemons that look into files as they are opened, as /proc names them (15 bytes), with what they
// are sold as.
func scannerNames() map[string]string {
	return map[string]string{
		"clamonacc": "ClamAV on-access scanning", "wdavdaemon": "Microsoft Defender", "mdatp": "Microsoft Defender",
		"falcon-sensor": "CrowdStrike Falcon", "falcon-sensor-b": "CrowdStrike Falcon",
		"ds_agent": "Trend Micro Deep Security", "ds_am": "Trend Micro Deep Security", "splxmain": "Trend Micro ServerProtect",
		"savd": "Sophos Anti-Virus", "savscand": "Sophos Anti-Virus", "sophos_threat_d": "Sophos Protection", "soapd": "Sophos Protection", "sophosd": "Sophos Protection",
		"kesl": "Kaspersky Endpoint Security", "kav4fs-supervis": "Kaspersky Anti-Virus",
		"esets_daemon": "ESET", "oaeventd": "ESET Server Security", "eraagent": "ESET",
		"isectpd": "Trellix (McAfee) Endpoint Security", "isecoasmgr": "Trellix (McAfee) Endpoint Security", "mfetpd": "Trellix (McAfee) Endpoint Security", "nailsd": "McAfee VirusScan",
		"rtvscand": "Symantec Endpoint Protection", "sisamddaemon": "Symantec Endpoint Protection", "sisidsdaemon": "Symantec Data Center Security",
		"bdsecd": "Bitdefender", "fsavd": "F-Secure", "fsaccd": "F-Secure", "drweb-spider": "Dr.Web", "drweb-filecheck": "Dr.Web",
		"s1-agent": "SentinelOne", "sentinelone-age": "SentinelOne", "cbagentd": "Carbon Black", "cbdaemon": "Carbon Black",
		"traps_pmd": "Cortex XDR", "cylancesvc": "Cylance", "elastic-endpoin": "Elastic Endpoint", "avastd": "Avast",
	}
}

// scanners names the antivirus that runs.
func scanners(processes map[string]string) []string {
	var out []string
	for process, product := range scannerNames() {
		if processes[process] != "" {
			out = append(out, product+" ("+process+")")
		}
	}
	slices.Sort(out)
	return out
}

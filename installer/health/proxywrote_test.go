package health

import "testing"

func TestServicesWorkOnceKubeProxyHasWrittenItsRules(t *testing.T) {
	for answer, works := range map[string]bool{
		"": false,
		"HTTP/1.0 200 OK\r\n\r\n{\"lastUpdated\":\"0001-01-01T00:00:00Z\",\"currentTime\":\"2026-01-02T00:00:00Z\"}": false,
		"HTTP/1.0 200 OK\r\n\r\n{\"lastUpdated\": \"2026-01-02T00:00:00Z\"}":                                         true,
		"HTTP/1.0 404 Not Found\r\n\r\n404 page not found\n":                                                         true,
	} {
		if err := proxyWrote([]byte(answer)); (err == nil) != works {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

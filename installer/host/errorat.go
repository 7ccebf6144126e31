package host

import "strings"

// ErrorAt is the text for a reader who has been told of host: without the name, if it is that host's.
func (e *Error) ErrorAt(host string) string { return without(e.Error(), e.Host, host) }

// ErrorAt is the text for a reader who has been told of host: without the name, if it is that host's.
func (e *ExitError) ErrorAt(host string) string { return without(e.Error(), e.Host, host) }

func without(text, own, told string) string {
	if own != told {
		return text
	}
	return strings.TrimPrefix(text, own+": ")
}

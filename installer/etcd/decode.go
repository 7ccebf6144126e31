package etcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
)

const maxMembers = 1000

// number is a 64-bit number, which the JSON of protocol buffers has as a string.
type number string

func (n *number) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if _, err := strconv.ParseUint(text, 10, 64); err != nil {
		return fmt.Errorf("%.40q is no number", text)
	}
	*n = number(text)
	return nil
}

// value is the number itself; 0 where the answer has none.
func (n number) value() uint64 {
	v, err := strconv.ParseUint(string(n), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// decodeMembers reads the answer to a request for the list of members.
func decodeMembers(data []byte) ([]Member, error) {
	var answer struct {
		Members []struct {
			ID         number   `json:"ID"`
			Name       string   `json:"name"`
			PeerURLs   []string `json:"peerURLs"`
			ClientURLs []string `json:"clientURLs"`
			IsLearner  bool     `json:"isLearner"`
		} `json:"members"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("etcd's list of members: %w", err)
	}
	if len(answer.Members) == 0 {
		return nil, errors.New("etcd's list of members is empty")
	}
	if len(answer.Members) > maxMembers {
		return nil, fmt.Errorf("etcd's list has %s", count.Of(len(answer.Members), "member"))
	}
	out := []Member{}
	for _, m := range answer.Members {
		if m.ID == "" || len(m.PeerURLs) == 0 {
			return nil, fmt.Errorf("etcd's list has a member without ID or peer address: %q %q", m.ID, m.Name)
		}
		out = append(out, Member{ID: string(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner})
	}
	return out, nil
}

// decodeState reads a member's state into m, and tells whether it has a leader.
func decodeState(data []byte, m *Member) (bool, error) {
	var answer struct {
		Header struct {
			Member   number `json:"member_id"`
			Revision size   `json:"revision"`
		} `json:"header"`
		Leader    number   `json:"leader"`
		Committed number   `json:"raftIndex"`
		Applied   number   `json:"raftAppliedIndex"`
		Version   string   `json:"version"`
		Size      size     `json:"dbSize"`
		InUse     size     `json:"dbSizeInUse"`
		Quota     size     `json:"dbSizeQuota"` // negative: none
		Errors    []string `json:"errors"`      // alarms among them, as "memberID:7 alarm:NOSPACE "
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return false, fmt.Errorf("state of a member: %w", err)
	}
	led := strings.Trim(string(answer.Leader), "0") != ""
	m.Version, m.Leads, m.Follows = answer.Version, led && answer.Leader == answer.Header.Member, ""
	if led {
		m.Follows = string(answer.Leader)
	}
	m.Committed, m.Applied, m.Revision = answer.Committed.value(), answer.Applied.value(), int64(answer.Header.Revision)
	m.Size, m.InUse, m.Quota = int64(answer.Size), int64(answer.InUse), int64(answer.Quota)
	m.Alarms = nil
	for _, e := range answer.Errors {
		if _, alarm, ok := strings.Cut(e, "alarm:"); ok {
			m.Alarms = append(m.Alarms, strings.TrimSpace(alarm))
		}
	}
	return led, nil
}

// decodeOwn reads which member gave an answer.
func decodeOwn(data []byte) (id string, err error) {
	var answer struct {
		Header struct {
			Member number `json:"member_id"`
		} `json:"header"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return "", fmt.Errorf("answer of a member: %w", err)
	}
	return string(answer.Header.Member), nil
}

// size is a number of bytes in the JSON of protocol buffers. One that cannot be read is 0: nothing depends on it but what is shown.
type size int64

func (s *size) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	if err == nil {
		*s = size(n)
	}
	return nil
}

// decodeRefusal gives the message of an answer with an error status, or the status if it has none.
func decodeRefusal(status string, data []byte) string {
	var answer struct {
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(data, &answer) == nil {
		for _, text := range []string{answer.Message, answer.Error} {
			if text != "" {
				return fmt.Sprintf("%.300s", text)
			}
		}
	}
	return status
}

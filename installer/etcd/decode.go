package etcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
		return nil, fmt.Errorf("etcd's list has %d members", len(answer.Members))
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

// decodeLeader reads out of a member's state which member it takes for the leader; empty if it knows none.
func decodeLeader(data []byte) (id string, err error) {
	var answer struct {
		Leader number `json:"leader"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return "", fmt.Errorf("state of a member: %w", err)
	}
	if strings.Trim(string(answer.Leader), "0") == "" {
		return "", nil
	}
	return string(answer.Leader), nil
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

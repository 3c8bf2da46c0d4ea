package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"entramcp/handler/grants"
)

// profile is the part of a Graph user that who_am_i shows.
// https://learn.microsoft.com/graph/api/user-get
type profile struct {
	DisplayName       string `json:"displayName,omitempty"`
	Mail              string `json:"mail,omitempty"`
	JobTitle          string `json:"jobTitle,omitempty"`
	OfficeLocation    string `json:"officeLocation,omitempty"`
	PreferredLanguage string `json:"preferredLanguage,omitempty"`
	UserPrincipalName string `json:"userPrincipalName,omitempty"`
}

// maxProfile bounds what is read of Graph's answer, in bytes.
const maxProfile = 1 << 20

const graphDown = "Microsoft Graph does not answer now. Try again in a minute."

// graphProfile reads /v1.0/me with a token that Entra issued for Graph. The
// client's own token is good for this server only and goes nowhere else.
func (s *Server) graphProfile(ctx context.Context, grant grants.Grant) (*profile, error) {
	token, err := s.graph.Token(ctx, grant, s.graphURL+"/"+userRead)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.graphURL+"/v1.0/me", nil)
	if err != nil {
		return nil, Fail(graphDown, err)
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, Fail(graphDown, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, Fail("Microsoft Graph refused access to your profile. Ask an administrator to grant User.Read to this application, then connect again.",
			fmt.Errorf("graph: status %d", resp.StatusCode))
	case resp.StatusCode != http.StatusOK:
		return nil, Fail(graphDown, fmt.Errorf("graph: status %d", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProfile+1))
	if err == nil && len(body) > maxProfile {
		err = errors.New("graph: the answer is too large")
	}
	var p profile
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil {
		return nil, Fail(graphDown, err)
	}
	return &p, nil
}

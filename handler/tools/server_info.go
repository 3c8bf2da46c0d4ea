package tools

import "context"

type serverInfo struct {
	Name           string     `json:"name"`
	Version        string     `json:"version"`
	Revision       string     `json:"revision,omitempty" jsonschema:"The commit this server was built from."`
	RevisionTime   string     `json:"revision_time,omitempty" jsonschema:"When that commit was made."`
	Authentication string     `json:"authentication"`
	Tools          []toolInfo `json:"tools"`
}

type toolInfo struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

func (s *Server) serverInfo(context.Context, *Caller, struct{}) (serverInfo, error) {
	info := serverInfo{
		Name:           s.name,
		Version:        s.build.version,
		Revision:       s.build.revision,
		RevisionTime:   s.build.time,
		Authentication: s.authentication,
		Tools:          make([]toolInfo, 0, len(s.tools)),
	}
	for _, t := range s.tools {
		info.Tools = append(info.Tools, toolInfo{Name: t.definition.Name, Description: t.definition.Description})
	}
	return info, nil
}

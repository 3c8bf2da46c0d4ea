package toolkit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/entra"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
)

// firstRounds is the first revision in which a server asks by answering "input
// required" (MCP 2026-07-28, "Multi Round-Trip Requests"). Before, it had to send a
// request within a session, and this server has none.
const firstRounds = "2026-07-28"

// answerLife is how long after the question an answer is accepted.
const answerLife = 10 * time.Minute

// AnsweredPrefix begins the partitions of answers that were used, one for each hour.
// Their rows expire and are never extended.
const AnsweredPrefix = "q-"

// ErrDeclined is returned by Ask if the user does not want to answer.
var ErrDeclined = Fail("You declined, so nothing was done.", nil)

// CanAsk reports whether the client shows questions to its user.
func (c *Caller) CanAsk() bool {
	caps := capabilitiesOf(c.Request)
	return c.canRound() && caps != nil && caps.Elicitation != nil && (caps.Elicitation.Form != nil || caps.Elicitation.URL == nil)
}

// canOpen reports whether the client can ask its user to open a link.
func (c *Caller) canOpen() bool {
	caps := capabilitiesOf(c.Request)
	return c.canRound() && caps != nil && caps.Elicitation != nil && caps.Elicitation.URL != nil
}

func (c *Caller) canRound() bool {
	return c.server.sealer != nil && revisionOf(c.Request) >= firstRounds
}

func capabilitiesOf(req mcp.Request) *mcp.ClientCapabilities {
	if r, ok := req.(interface {
		ClientCapabilities() *mcp.ClientCapabilities
	}); ok {
		return r.ClientCapabilities()
	}
	return nil
}

func revisionOf(req mcp.Request) string {
	if r, ok := req.(interface{ ProtocolVersion() string }); ok {
		return r.ProtocolVersion()
	}
	return ""
}

// Ask asks the user to fill in a form and returns the values. T is a struct of
// strings, numbers and booleans, described by tags as arguments are; struct{} asks
// for a confirmation alone.
//
// Return Ask's error unchanged: it contains the question, and the client calls the
// tool again with the answer. The function then starts from its beginning, so ask
// first and act afterwards. An answer is accepted once, within 10 minutes, for the
// same user, tool and arguments. It comes from the client and does not prove who
// typed it. ErrDeclined means that the user does not want to answer.
//
// Clients before 2026-07-28 cannot be asked; their users read the question as the
// tool's error. CanAsk tells beforehand.
func Ask[T any](ctx context.Context, caller *Caller, message string) (T, error) {
	var answer T
	form, err := argumentsOf(reflect.TypeFor[T]())
	if err == nil {
		err = flat(form)
	}
	if err != nil {
		return answer, unexpected(ctx, fmt.Errorf("toolkit: the form %T: %w", answer, err))
	}
	content, err := caller.ask(ctx, &mcp.ElicitParams{Mode: "form", Message: message, RequestedSchema: form.published()})
	if err != nil {
		return answer, err
	}
	raw, err := json.Marshal(content)
	if err == nil {
		raw, err = form.arguments(raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, &answer)
	}
	if err != nil {
		return answer, Fail("The answer does not fit the question: "+err.Error(), nil)
	}
	return answer, nil
}

// flat refuses a form that clients cannot show (MCP, "Elicitation").
func flat(form *shape) error {
	for _, f := range form.members {
		if f.kind == "object" || f.kind == "array" && len(f.items.enum) == 0 {
			return fmt.Errorf("%s: a form has no nested values", f.name)
		}
	}
	return nil
}

// AskToOpen asks the user to open an https link, for what must not pass through the
// client: a payment, a secret. It returns nil once the client says that the user
// agreed, which does not mean that anything was done there: check that. The link must
// not identify the user, and must require a sign-in. Otherwise it works like Ask;
// users who cannot be asked get the link in the tool's error.
func (c *Caller) AskToOpen(ctx context.Context, message, link string) error {
	_, err := c.ask(ctx, &mcp.ElicitParams{Mode: "url", Message: message, URL: link})
	return err
}

// question is the error of a function that asks.
type question struct {
	key    string
	params *mcp.ElicitParams
}

func (q *question) Error() string {
	if q.params.Mode == "url" {
		return q.params.Message + " " + q.params.URL
	}
	return "This needs an answer from you, and your client cannot ask for it: " + q.params.Message +
		" Use a client that supports elicitation in revision " + firstRounds + " of MCP."
}

func asks(err error) bool {
	_, ok := errors.AsType[*question](err)
	return ok
}

// answer is what the user did about a question.
type answer struct {
	Action  string         `json:"action"`
	Content map[string]any `json:"content,omitempty"`
}

// conversation is the questions of one call and their answers so far.
type conversation struct {
	id       string // of the state that came with this request, "" if none did
	expires  time.Time
	answers  map[string]answer
	next     int
	consumed bool
}

// sealedTalk is a conversation in the form that is sealed and sent through the
// client.
type sealedTalk struct {
	Version int               `json:"v"`
	ID      string            `json:"id"`
	Caller  string            `json:"caller"`
	Call    string            `json:"call"`
	Expires int64             `json:"exp"`
	Asked   string            `json:"asked"`
	Answers map[string]answer `json:"answers,omitempty"`
}

const talkVersion = 1

// errState is for a client that sends the state of another call, or one that is not
// ours.
func errState() error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "The requestState does not belong to this call, or has expired. Call again without it."}
}

// conversation reads the state and the answers of the request.
func (c *Caller) conversation(ctx context.Context) (*conversation, error) {
	return c.talk.get(func() (*conversation, error) {
		state, responses := roundOf(c.Request)
		talk := &conversation{answers: map[string]answer{}}
		if state == "" || c.server.sealer == nil {
			return talk, nil
		}
		raw, err := c.server.sealer.Open(ctx, keyring.ToolQuestion, nil, state)
		if errors.Is(err, keyring.ErrNotOurs) {
			return nil, errState()
		}
		if err != nil {
			return nil, unexpected(ctx, err)
		}
		var sealed sealedTalk
		if err := json.Unmarshal(raw, &sealed); err != nil || sealed.Version != talkVersion || sealed.Caller != c.identity() ||
			sealed.Call != c.callDigest() || !c.server.now().Before(time.Unix(sealed.Expires, 0)) {
			return nil, errState()
		}
		maps.Copy(talk.answers, sealed.Answers)
		talk.id, talk.expires = sealed.ID, time.Unix(sealed.Expires, 0)
		if r, ok := responses[sealed.Asked].(*mcp.ElicitResult); ok {
			talk.answers[sealed.Asked] = answer{r.Action, r.Content}
		}
		return talk, nil
	})
}

// identity is whose answers count: those of this sign-in.
func (c *Caller) identity() string { return string(c.Subject) + " " + c.ClientID + " " + c.GrantID }

// callDigest identifies what the answers are about: the tool and its arguments.
func (c *Caller) callDigest() string {
	sum := sha256.Sum256([]byte(string(c.definition.kind) + " " + c.definition.name + " " + string(c.arguments)))
	return hex.EncodeToString(sum[:])
}

func roundOf(req mcp.Request) (state string, responses mcp.InputResponseMap) {
	switch r := req.(type) {
	case *mcp.CallToolRequest:
		return r.Params.RequestState, r.Params.InputResponses
	case *mcp.GetPromptRequest:
		return r.Params.RequestState, r.Params.InputResponses
	case *mcp.ReadResourceRequest:
		return r.Params.RequestState, r.Params.InputResponses
	}
	return "", nil
}

// ask returns the answer to the next question of the call, or the question as an
// error.
func (c *Caller) ask(ctx context.Context, params *mcp.ElicitParams) (map[string]any, error) {
	talk, err := c.conversation(ctx)
	if err != nil {
		return nil, err
	}
	talk.next++
	key := "question-" + strconv.Itoa(talk.next)
	given, ok := talk.answers[key]
	if !ok {
		return nil, &question{key, params}
	}
	if given.Action != "accept" {
		return nil, ErrDeclined
	}
	return given.Content, c.consume(ctx, talk)
}

// consume marks the state that came with this request as used, for all instances,
// before the function acts on the answer.
func (c *Caller) consume(ctx context.Context, talk *conversation) error {
	if talk.consumed {
		return nil
	}
	_, err := c.server.table.Insert(ctx, store.Row{
		Partition: AnsweredPrefix + talk.expires.UTC().Format("2006010215"), Key: talk.id, Expires: talk.expires.Add(time.Minute).Truncate(time.Second),
		Value: []byte(`{"v":1}`),
	})
	switch {
	case errors.Is(err, store.ErrExists):
		return Fail("This answer was used before. Call again to be asked again.", nil)
	case err != nil:
		return Fail("Your answer cannot be used now. Try again in a minute.", err)
	}
	talk.consumed = true
	return nil
}

// answerQuestion turns the error of a function that asks into the result that does,
// where the client can be asked. Otherwise the error stays: its text has the question
// or the link.
func (s *Server) answerQuestion(ctx context.Context, call *Call, failed error) (mcp.Result, error) {
	c, q := call.Caller, new(question)
	if call.Kind == completion || !errors.As(failed, &q) && !consentOf(failed, &q) {
		return nil, failed
	}
	if q.params.Mode == "url" && !c.canOpen() {
		return nil, failed
	}
	if q.params.Mode == "form" && !c.CanAsk() {
		if c.canRound() {
			return nil, missingCapability()
		}
		return nil, failed
	}
	talk, err := c.conversation(ctx)
	if err != nil {
		return nil, err
	}
	if _, again := talk.answers[q.key]; again {
		return nil, failed // a consent that the client reported, or was refused
	}
	sealed, _ := json.Marshal(sealedTalk{ // the answers came as JSON
		Version: talkVersion, ID: rand.Text(), Caller: c.identity(), Call: c.callDigest(),
		Expires: s.now().Add(answerLife).Unix(), Asked: q.key, Answers: talk.answers,
	})
	state, err := s.sealer.Seal(ctx, keyring.ToolQuestion, nil, sealed)
	if err != nil {
		return nil, Fail("You cannot be asked now. Try again in a minute.", err)
	}
	requests := mcp.InputRequestMap{q.key: q.params}
	switch call.Kind {
	case string(prompt):
		return &mcp.GetPromptResult{InputRequests: requests, RequestState: state}, nil
	case string(resource):
		return &mcp.ReadResourceResult{InputRequests: requests, RequestState: state}, nil
	}
	return &mcp.CallToolResult{InputRequests: requests, RequestState: state}, nil
}

// missingCapability is the error for a client of 2026-07-28 that cannot show a form.
func missingCapability() error {
	data, _ := json.Marshal(mcp.MissingRequiredClientCapabilityData{RequiredCapabilities: &mcp.ClientCapabilities{ // a constant
		Elicitation: &mcp.ElicitationCapabilities{Form: &mcp.FormElicitationCapabilities{}},
	}})
	return &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "This needs a client with elicitation.", Data: data}
}

// consentOf is the question for a missing consent: a link that the user or an
// administrator opens.
func consentOf(err error, q **question) bool {
	f, ok := errors.AsType[*entra.Error](err)
	if !ok || f.ConsentURL == "" {
		return false
	}
	*q = &question{"consent", &mcp.ElicitParams{Mode: "url", Message: strings.TrimSpace(f.Summary + " " + f.NextStep), URL: f.ConsentURL}}
	return true
}

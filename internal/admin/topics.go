package admin

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir/host"
)

var (
	moduleParameter = parameter{"module", "string", "Whose topics; those of all modules if it is not given."}
	topicParameter  = parameter{"topic", "string", "The topic's name."}
)

var routesOfTopics = []route{
	{method: "GET", path: "/v1/topics", summary: "list the topics", gives: Topics{}, serve: (*call).topics, query: []parameter{
		moduleParameter,
		{"prefix", "string", "Those whose names begin so."},
		afterParameter, limitParameter,
	}},
	{method: "GET", path: "/v1/topics/members", summary: "list the connections of a topic", gives: Members{}, serve: (*call).members, query: []parameter{
		{"module", "string", "Whose topic."},
		topicParameter, afterParameter, limitParameter,
	}},
	{
		method: "POST", path: "/v1/topics/publish", summary: "send a message to a topic", takes: Publication{}, gives: Published{},
		asked: "a message to a topic", data: true, serve: (*call).publish,
	},
}

// topics lists by module and then by name; a page's next is both, with a slash
// between, which no module's name has.
func (c *call) topics() error {
	limit, err := c.number("limit", 1, maxPage, 100)
	if err != nil {
		return err
	}
	modules := []string{c.q.Get("module")}
	if modules[0] == "" {
		modules = slices.Sorted(maps.Keys(c.s.Server.Stats().Modules))
	}
	afterModule, afterTopic, ok := strings.Cut(c.q.Get("after"), "/")
	if c.q.Get("after") != "" && !ok {
		return problem(CodeInvalid, "after is "+quoted(c.q.Get("after"))+", which is no page's next")
	}
	page := Topics{Topics: []Topic{}}
	for _, module := range modules {
		if module < afterModule {
			continue
		}
		after := ""
		if module == afterModule {
			after = afterTopic
		}
		if len(page.Topics) == limit { // the next page finds whether there is anything
			page.Next = module + "/"
			break
		}
		found, more, err := c.s.Server.Topics(module, c.q.Get("prefix"), after, limit-len(page.Topics))
		if err != nil {
			return ofModule(module, err)
		}
		for _, t := range found {
			page.Topics = append(page.Topics, Topic{Module: t.Module, Topic: t.Topic, Members: t.Members})
		}
		if more && len(found) > 0 {
			page.Next = module + "/" + found[len(found)-1].Topic
			break
		}
	}
	answer(c.w, 200, page)
	return nil
}

// ofModule puts the module's name into the words of an error.
func ofModule(module string, err error) error {
	if err == host.ErrUnknownModule {
		return unknownModule(module)
	}
	return err
}

func (c *call) members() error {
	after, err := c.id("after")
	if err != nil {
		return err
	}
	limit, err := c.number("limit", 1, maxPage, 100)
	if err != nil {
		return err
	}
	module := c.q.Get("module")
	found, more, err := c.s.Server.TopicMembers(module, c.q.Get("topic"), after, limit)
	if err != nil {
		return ofModule(module, err)
	}
	page := Members{Members: make([]ConnID, len(found))}
	for i, id := range found {
		page.Members[i] = ConnID(id)
	}
	if more && len(found) > 0 {
		page.Next = strconv.FormatUint(found[len(found)-1], 10)
	}
	answer(c.w, 200, page)
	return nil
}

func (c *call) publish() error {
	var p Publication
	if err := c.body(&p); err != nil {
		return err
	}
	binary, payload, err := message(p.Text, p.Base64)
	if err != nil {
		return err
	}
	n, err := c.s.Server.Publish(p.Module, p.Topic, binary, payload)
	if err != nil {
		return ofModule(p.Module, err)
	}
	answer(c.w, 200, Published{Receivers: n})
	return nil
}

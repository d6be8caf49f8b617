package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// NodeKind is what a Node holds.
type NodeKind uint8

// The kinds of nodes.
const (
	NullNode NodeKind = iota
	BoolNode
	NumberNode
	TextNode
	ListNode
	MapNode
)

// Node is one value of a YAML document, with the place where it was written. It
// is for files whose grammar is richer than what Load fills into structs.
type Node struct {
	Origin Origin
	Kind   NodeKind
	// Scalar is nil, a bool, an int64, uint64 or float64, or a string, as Kind
	// says; nil for lists and mappings.
	Scalar any
	// Quoted says that a text stands in quotes or in a block, so that it cannot
	// have been meant as anything else.
	Quoted bool
	// Items are a list's, or the values of a mapping.
	Items []*Node
	// Keys are the keys of a mapping, in the order of Items and in that of the
	// file. Their Scalar is a string, whatever it looks like, and none comes
	// twice.
	Keys []*Node
}

// Get is the value of a key, nil when a mapping does not have it.
func (n *Node) Get(key string) *Node {
	for i, k := range n.Keys {
		if k.Scalar == key {
			return n.Items[i]
		}
	}
	return nil
}

// Bounds of a document, so that a few aliases of aliases do not become gigabytes.
const (
	maxNodes     = 1 << 18
	maxNodeDepth = 100
)

// ParseNode reads one YAML document. name is for messages. An empty document is
// a NullNode. The error is a Mistake.
func ParseNode(name string, text []byte) (*Node, error) {
	f := yamlFile{name: name, source: &sourceText{text: string(text)}}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, f.mistake(err)
	}
	if len(file.Docs) > 1 {
		return nil, Mistake{Origin: f.placeOf(file.Docs[1].Start), Problem: "one document is enough; remove \"---\" and what follows"}
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return &Node{Origin: f.placeOf(nil)}, nil
	}
	r := nodeReader{file: f, anchors: map[string]*ast.AnchorNode{}}
	return r.read(file.Docs[0].Body, 0)
}

// nodeReader turns the library's tree into ours.
type nodeReader struct {
	file    yamlFile
	anchors map[string]*ast.AnchorNode
	nodes   int
}

func (r *nodeReader) read(n ast.Node, depth int) (*Node, error) {
	node := &Node{Origin: r.file.place(n)}
	if r.nodes++; r.nodes > maxNodes || depth > maxNodeDepth {
		return nil, Mistake{Origin: node.Origin, Problem: fmt.Sprintf("the document is too large or too deep, aliases counted as often as they stand for something (%d values, %d levels)", maxNodes, maxNodeDepth)}
	}
	switch n := n.(type) {
	case *ast.AnchorNode:
		r.anchors[n.Name.GetToken().Value] = n
		return r.read(n.Value, depth+1)
	case *ast.AliasNode:
		anchor := r.anchors[n.Value.GetToken().Value]
		if anchor == nil {
			return nil, Mistake{Origin: node.Origin, Problem: fmt.Sprintf("there is no anchor &%s before this alias", n.Value.GetToken().Value)}
		}
		return r.read(anchor.Value, depth+1)
	case *ast.TagNode:
		return nil, Mistake{Origin: node.Origin, Problem: fmt.Sprintf("tags such as %s mean nothing here", n.Start.Value)}
	case *ast.MappingNode:
		return node, r.readMap(node, n.Values, depth)
	case *ast.MappingValueNode:
		return node, r.readMap(node, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		node.Kind = ListNode
		for _, v := range n.Values {
			item, err := r.read(v, depth+1)
			if err != nil {
				return nil, err
			}
			node.Items = append(node.Items, item)
		}
		return node, nil
	default:
		return node, r.readScalar(node, n)
	}
}

func (r *nodeReader) readMap(node *Node, pairs []*ast.MappingValueNode, depth int) error {
	node.Kind = MapNode
	for _, pair := range pairs {
		at := r.file.place(pair.Key)
		if pair.Key.IsMergeKey() {
			return Mistake{Origin: at, Problem: "merge keys (<<) are not known here; write the keys out, or give the whole mapping an alias"}
		}
		if _, plain := pair.Key.(ast.ScalarNode); !plain {
			return Mistake{Origin: at, Problem: "a key is one word or a text in quotes"}
		}
		name := pair.Key.GetToken().Value
		item, err := r.read(pair.Value, depth+1)
		if err != nil {
			return err
		}
		node.Keys = append(node.Keys, &Node{Origin: at, Kind: TextNode, Scalar: name})
		node.Items = append(node.Items, item)
	}
	return nil
}

func (r *nodeReader) readScalar(node *Node, n ast.Node) error {
	if block, ok := n.(*ast.LiteralNode); ok {
		node.Kind, node.Scalar, node.Quoted = TextNode, block.Value.Value, true
		return nil
	}
	scalar, ok := n.(ast.ScalarNode)
	if !ok {
		return Mistake{Origin: node.Origin, Problem: fmt.Sprintf("%s cannot stand here", n.Type())}
	}
	node.Scalar = scalar.GetValue()
	switch node.Scalar.(type) {
	case nil:
		node.Kind = NullNode
	case bool:
		node.Kind = BoolNode
	case int64, uint64, float64:
		node.Kind = NumberNode
	case string:
		node.Kind = TextNode
		t := n.GetToken().Type
		node.Quoted = t == token.DoubleQuoteType || t == token.SingleQuoteType
	default:
		return Mistake{Origin: node.Origin, Problem: fmt.Sprintf("%v cannot stand here", node.Scalar)}
	}
	return nil
}

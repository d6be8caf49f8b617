package kernels

import (
	"encoding/json"
	"fmt"
)

// document is what the JSON kernel works on.
type document struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Items   []item `json:"items"`
}

type item struct {
	ID     int64    `json:"id"`
	Title  string   `json:"title"`
	Price  int64    `json:"price"`
	Tags   []string `json:"tags"`
	Active bool     `json:"active"`
}

// items makes the document about 2 KB long.
const items = 17

// jsonInput holds escapes and UTF-8, but nothing that encoding/json escapes for the sake of HTML.
func jsonInput() []byte {
	d := document{Version: 1, Name: "Größe, \"quoted\"\nand \\ broken"}
	for i := range int64(items) {
		d.Items = append(d.Items, item{
			ID:     i + 1,
			Title:  fmt.Sprintf("Item № %d of the list, with a title", i+1),
			Price:  1000 + 37*i,
			Tags:   []string{"small", "übrig", fmt.Sprintf("tag-%d", i)},
			Active: i%3 == 0,
		})
	}
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // there is nothing in it that has no form in JSON
	}
	return text
}

// rewrite parses a document, changes it and serialises it, round after round.
func rewrite(text []byte, rounds uint32) ([]byte, error) {
	for range rounds {
		var d document
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("kernels: json: %w", err)
		}
		d.change()
		var err error
		if text, err = json.Marshal(d); err != nil {
			return nil, fmt.Errorf("kernels: json: %w", err)
		}
	}
	return text, nil
}

func (d *document) change() {
	d.Version++
	for i := range d.Items {
		x := &d.Items[i]
		x.Price += x.ID
		x.Active = !x.Active
		if n := len(x.Tags); n > 0 { // the first becomes the last
			first := x.Tags[0]
			copy(x.Tags, x.Tags[1:])
			x.Tags[n-1] = first
		}
	}
}

package page

import "reflect"

// Masked is a copy of v in which every text went through mask: whatever structs, lists, maps and pointers it lies in. Fields that
// are not exported are copied as they are, and so are those with the tag mask:"-": words of the program's own, of which others read
// what they mean.
func Masked[T any](v T, mask func(string) string) T {
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	masked(out, reflect.ValueOf(&v).Elem(), mask)
	return out.Interface().(T)
}

// masked sets to, which is the zero value, to the masked from.
func masked(to, from reflect.Value, mask func(string) string) {
	to.Set(from)
	switch from.Kind() {
	case reflect.String:
		to.SetString(mask(from.String()))
	case reflect.Pointer, reflect.Interface:
		if !from.IsNil() {
			inner := reflect.New(from.Elem().Type()).Elem()
			masked(inner, from.Elem(), mask)
			if from.Kind() == reflect.Pointer {
				inner = inner.Addr()
			}
			to.Set(inner)
		}
	case reflect.Struct:
		for i := range from.NumField() {
			if f := from.Type().Field(i); f.IsExported() && f.Tag.Get("mask") != "-" {
				masked(to.Field(i), from.Field(i), mask)
			}
		}
	case reflect.Array:
		for i := range from.Len() {
			masked(to.Index(i), from.Index(i), mask)
		}
	case reflect.Slice:
		switch {
		case from.IsNil():
		case from.Type().Elem().Kind() == reflect.Uint8:
			to.SetBytes([]byte(mask(string(from.Bytes()))))
		default:
			to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				masked(to.Index(i), from.Index(i), mask)
			}
		}
	case reflect.Map:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
		for each := from.MapRange(); each.Next(); {
			key, value := reflect.New(from.Type().Key()).Elem(), reflect.New(from.Type().Elem()).Elem()
			masked(key, each.Key(), mask)
			masked(value, each.Value(), mask)
			to.SetMapIndex(key, value)
		}
	}
}

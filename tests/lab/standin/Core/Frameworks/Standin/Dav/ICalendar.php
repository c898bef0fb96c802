<?php
/**
 * Writes iCalendar. The old library would escape the backslash of an escaped
 * comma once more, and leave a name with a comma unquoted.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\VObject\Component;

final class ICalendar
{
    private const ESCAPED = ['\\,' => "\u{E000}", '\\;' => "\u{E001}"];

    public static function text(Component $calendar): string
    {
        $copy = clone $calendar;
        self::protect($copy);

        return str_replace(array_values(self::ESCAPED), array_keys(self::ESCAPED), $copy->serialize());
    }

    private static function protect(Component $component): void
    {
        foreach ($component->children as $child) {
            if ($child instanceof Component) {
                self::protect($child);
                continue;
            }
            $child->value = strtr($child->value, self::ESCAPED);
            foreach ($child->parameters as $parameter) {
                // The library itself quotes for a colon or a semicolon.
                if (str_contains((string) $parameter->value, ',') && !preg_match('/[":;\\\\]/', $parameter->value)) {
                    $parameter->value = "\"$parameter->value\"";
                }
            }
        }
    }
}

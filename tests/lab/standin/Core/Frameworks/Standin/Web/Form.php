<?php
/**
 * The form for a section of baikal.yaml.
 *
 * The contract is the fields' names: data[key] and witness[key]=1 for each, the
 * model's name with ::submitted=1, and CSRF_TOKEN. What was saved rewrites the section.
 */
declare(strict_types=1);

namespace Standin\Web;

use Standin\Config;

final class Form
{
    private const MODELS = ['system' => 'Baikal_Model_Config_Standard', 'database' => 'Baikal_Model_Config_Database'];
    private const FIELDS = [
        'system' => [
            'timezone' => 'text', 'card_enabled' => 'checkbox', 'cal_enabled' => 'checkbox', 'invite_from' => 'text',
            'dav_auth_type' => ['Digest', 'Basic', 'Apache'],
            'admin_passwordhash' => 'password', 'admin_passwordhash_confirm' => 'password',
        ],
        'database' => [
            'backend' => ['sqlite', 'mysql', 'pgsql'], 'sqlite_file' => 'text',
            'mysql_host' => 'text', 'mysql_dbname' => 'text', 'mysql_username' => 'text', 'mysql_password' => 'password',
            'mysql_ca_cert' => 'text',
            'pgsql_host' => 'text', 'pgsql_dbname' => 'text', 'pgsql_username' => 'text', 'pgsql_password' => 'password',
        ],
    ];

    public string $message = '';

    public function __construct(private readonly string $section)
    {
    }

    public function isSubmitted(): bool
    {
        return (int) ($_POST[self::MODELS[$this->section] . '::submitted'] ?? 0) === 1;
    }

    /** @return array<string, mixed> what was posted, ready for the yaml */
    public function values(): array
    {
        $values = [];
        foreach (self::FIELDS[$this->section] as $name => $kind) {
            if ((int) ($_POST['witness'][$name] ?? 0) === 1) {
                $posted = (string) ($_POST['data'][$name] ?? '');
                $values[$name] = $kind === 'checkbox' ? $posted === '1' : $posted;
            }
        }

        return $values;
    }

    /** @return bool whether the system section was saved; if not, the message says why */
    public function saveSystem(): bool
    {
        $stored = Config::section('system');
        $values = $this->values();
        $password = $values['admin_passwordhash'] ?? '';
        $this->message = match (true) {
            $password !== ($values['admin_passwordhash_confirm'] ?? '') => 'Validation error: the confirmation does not match.',
            $password === '' && $stored['admin_passwordhash'] === '' => 'Validation error: an admin password is required.',
            !in_array($values['timezone'] ?? $stored['timezone'], timezone_identifiers_list(), true)
                => 'Validation error: no such time zone.',
            default => '',
        };
        if ($this->message !== '') {
            return false;
        }
        unset($values['admin_passwordhash'], $values['admin_passwordhash_confirm']);
        if ($password !== '') {
            $values['admin_passwordhash'] = Config::adminHash($password, $stored['auth_realm']);
        }
        Config::save('system', $values);
        $this->message = 'Changes on <strong>Baïkal Settings</strong> have been saved.';

        return true;
    }

    public function html(): string
    {
        $stored = Config::section($this->section);
        $html = "<p>$this->message</p>\n<form action=\"\" method=\"post\" enctype=\"multipart/form-data\">\n"
            . '<input type="hidden" name="' . self::MODELS[$this->section] . "::submitted\" value=\"1\">\n"
            . '<input type="hidden" name="refreshed" value="0">' . "\n"
            . "<input type=\"hidden\" name=\"CSRF_TOKEN\" value=\"{$_SESSION['CSRF_TOKEN']}\">\n";
        foreach (self::FIELDS[$this->section] as $name => $kind) {
            $html .= "<p><label>$name " . self::control($name, $kind, $stored[$name] ?? '') . '</label>'
                . "<input type=\"hidden\" name=\"witness[$name]\" value=\"1\"></p>\n";
        }

        return "$html<button type=\"submit\">Save changes</button>\n</form>";
    }

    /** @param string|list<string> $kind an input's type, or the options to choose from */
    private static function control(string $name, string|array $kind, mixed $value): string
    {
        if (is_array($kind)) {
            $option = static fn (string $each): string => '<option' . ($each === $value ? ' selected' : '') . ">$each</option>";

            return "<select name=\"data[$name]\">" . implode('', array_map($option, $kind)) . '</select>';
        }

        return "<input type=\"$kind\" name=\"data[$name]\" " . match ($kind) {
            'checkbox' => 'value="1"' . ($value === true ? ' checked' : ''),
            'password' => 'value=""',
            default => 'value="' . htmlspecialchars((string) $value) . '"',
        } . '>';
    }
}

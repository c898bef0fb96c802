<?php
/** Users, from the principals table; the old library also reads a column that the schema no longer has. */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\DAVACL\PrincipalBackend\PDO;

final class Principal extends PDO
{
    protected $fieldMap = [
        '{DAV:}displayname' => ['dbField' => 'displayname'],
        '{http://sabredav.org/ns}email-address' => ['dbField' => 'email'],
    ];
}
